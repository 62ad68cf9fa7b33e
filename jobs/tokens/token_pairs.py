"""Pairs of texts as token ids, one label number each, cached and memory-mapped: inference and choices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jobs.data.load import load_records
from jobs.errors import Fault, InputError
from jobs.spec import BackboneRef, DataRef, Split, TaskKind, TaskRef
from jobs.spec.identity import key_of
from jobs.tokens.ragged_file import Ids, RaggedFile, RaggedRows, write_ragged
from jobs.tokens.text_blocks import mapped
from jobs.tokens.tokenizer import load_tokenizer, tokenizer_identity, unknown_ids

# Raised when the same rows give other examples than before.
VERSION = 1
_ROWS_AT_ONCE = 1000
_COLUMNS = ("input_ids", "types", "label")
# What the question of a choice says, as the published multiple-choice systems on COPA write it.
ASKED = {"cause": "What was the cause?", "effect": "What happened as a result?"}


class Pair(NamedTuple):
    """Two texts, the second "" in all pairs of a data set that has one alone, and the number of their label."""

    first: str
    second: str
    label: int


@dataclass(frozen=True, slots=True)
class TokenPair:
    """One pair as a row; arrays int32 and read-only, specials included: `input_ids` and `types` [length]."""

    input_ids: Ids
    types: Ids
    label: int


class TokenPairs(RaggedRows[TokenPair]):
    """The pairs of a split. `truncated`: how many were cut to `max_length`. `unknown_share`: see `TokenExamples`."""

    def __init__(self, file: RaggedFile) -> None:
        """Wrap a file of `token_pairs`."""
        super().__init__(file)
        self.truncated = int(file.meta["truncated"])
        self.unknown_share = float(file.meta["unknown"]) / max(1, int(file.meta["pieces"]))
        self.lengths = file.lengths("input_ids")

    def _value(self, place: int) -> TokenPair:
        ids, types, label = (self._file.row(name, place) for name in _COLUMNS)
        return TokenPair(ids, types, int(label[0]))


def token_pairs(
    data: DataRef, split: Split, task: TaskRef, backbone: BackboneRef, max_length: int, cache: Path
) -> TokenPairs:
    """The pairs of a split, tokenized together; a pair that is too long loses tokens of its longer text.

    Classification: premise and hypothesis, the label's number in `task.labels`. Multiple choice: two pairs an
    example, one after the other, (premise and question, choice), labelled 1 when the choice is the right one.
    Raises InputError for faulty rows, and for a tokenizer that cannot join two texts.
    """
    key = key_of(
        "token_pairs", VERSION, data, split, [task.kind, *task.labels], tokenizer_identity(backbone), max_length
    )
    path = cache / "tokenized" / f"{task.kind}-{data.language}-{split}-{key}.arrow"

    def build() -> None:
        rows = load_records(data, split, task, cache)
        pairs = [pair for row in rows for pair in _PAIRS[task.kind](row, task)]
        meta = {"truncated": 0, "pieces": 0, "unknown": 0}
        tokenizer = pair_tokenizer(backbone) if any(pair.second for pair in pairs) else load_tokenizer(backbone)
        write_ragged(path, _COLUMNS, _rows(pairs, tokenizer, max_length, meta), meta)

    return TokenPairs(mapped(path, build))


def pair_tokenizer(backbone: BackboneRef) -> Any:
    """The tokenizer of `backbone`. Raises InputError when it puts no separator between two texts."""
    tokenizer = load_tokenizer(backbone)
    if tokenizer.num_special_tokens_to_add(pair=True) < 3:
        todo = "its post-processor needs a template for pairs, such as <s> $A </s> </s> $B </s>"
        raise InputError(Fault("the tokenizer cannot join two texts", f"backbone {backbone.name}", todo=todo))
    return tokenizer


def _premise_and_hypothesis(row: dict[str, Any], task: TaskRef) -> Iterator[Pair]:
    yield Pair(row["premise"], row["hypothesis"], task.labels.index(row["label"]))


def _choices(row: dict[str, Any], task: TaskRef) -> Iterator[Pair]:
    asked = f"{row['premise']} {ASKED[row['question']]}"
    for number, name in enumerate(("choice1", "choice2")):
        yield Pair(asked, row[name], int(row["label"] == number))


_PAIRS: dict[TaskKind, Callable[[dict[str, Any], TaskRef], Iterator[Pair]]] = {
    "classification": _premise_and_hypothesis,
    "multiple-choice": _choices,
}


def _rows(pairs: Sequence[Pair], tokenizer: Any, max_length: int, meta: dict[str, int]) -> Iterator[list[list[int]]]:
    unknown = unknown_ids(tokenizer)
    two = any(pair.second for pair in pairs)
    specials = tokenizer.num_special_tokens_to_add(pair=two)
    if max_length < specials + 2:
        raise InputError(Fault(f"max_length must be at least {specials + 2}", "max_length", str(max_length)))
    for start in range(0, len(pairs), _ROWS_AT_ONCE):
        batch = pairs[start : start + _ROWS_AT_ONCE]
        texts = ([pair.first for pair in batch], *([[pair.second for pair in batch]] if two else []))
        encoded = tokenizer(
            *texts, truncation=True, max_length=max_length, return_attention_mask=False, return_token_type_ids=True
        )
        for place, pair in enumerate(batch):
            ids = encoded["input_ids"][place]
            meta["truncated"] += bool(encoded.encodings[place].overflowing)
            meta["pieces"] += len(ids) - specials
            meta["unknown"] += sum(map(unknown.__contains__, ids))
            yield [ids, encoded["token_type_ids"][place], [pair.label]]
