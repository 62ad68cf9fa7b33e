"""Labelled sentences as token ids with a label on the first piece of each word, cached and memory-mapped."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.data.load import describe, load_tagged
from jobs.data.sentences import Sentence, check_tags
from jobs.errors import Fault, InputError
from jobs.spec import BackboneRef, DataRef, Split, TaskRef
from jobs.spec.identity import key_of
from jobs.tokens.ragged_file import Ids, RaggedFile, RaggedRows, write_ragged
from jobs.tokens.text_blocks import mapped
from jobs.tokens.tokenizer import load_tokenizer, spaced_words, tokenizer_identity, unknown_ids, word_tokenizer

_LOG = logging.getLogger(__name__)
# Raised when the same sentences give other examples than before.
VERSION = 2
IGNORED = -100
NOWHERE = -1
_SENTENCES_AT_ONCE = 1000
_COLUMNS = ("input_ids", "labels", "word_starts", "word_labels")


@dataclass(frozen=True, slots=True)
class TokenExample:
    """One sentence; all arrays int32 and read-only.

    `input_ids` [length <= max_length], specials included. `labels` [length]: the label's number on the first
    piece of each word, -100 elsewhere. `word_starts` [words]: the place of each word's first piece, -1 for a
    word beyond `max_length` or one the tokenizer gives no piece for. `word_labels` [words]: the gold labels.
    """

    input_ids: Ids
    labels: Ids
    word_starts: Ids
    word_labels: Ids


class TokenExamples(RaggedRows[TokenExample]):
    """The examples of a split, with what the caller may want to state about them.

    `words`, `lost_words` (beyond `max_length` or without a piece), `unknown_share`
    (of the pieces: unknown ones and single bytes), `repaired` (tags that were mended).
    """

    def __init__(self, file: RaggedFile) -> None:
        """Wrap a file of `token_labels`."""
        super().__init__(file)
        self.words = int(file.meta["words"])
        self.lost_words = int(file.meta["lost_words"])
        self.repaired = int(file.meta["repaired"])
        self.unknown_share = float(file.meta["unknown"]) / max(1, int(file.meta["pieces"]))
        self.lengths = file.lengths("input_ids")

    def _value(self, place: int) -> TokenExample:
        return TokenExample(*(self._file.row(name, place) for name in _COLUMNS))


def token_labels(
    data: DataRef, split: Split, task: TaskRef, backbone: BackboneRef, max_length: int, cache: Path
) -> TokenExamples:
    """The sentences of a split, tokenized word by word.

    Raises InputError for a tag that is not among `task.labels`, with sentence numbers counted from 0.
    """
    words = [task.kind, *task.labels]
    spaced = () if spaced_words(load_tokenizer(backbone)) else ("spaced",)
    key = key_of("token_labels", VERSION, data, split, words, tokenizer_identity(backbone), max_length, *spaced)
    path = cache / "tokenized" / f"{task.kind}-{data.language}-{split}-{key}.arrow"

    def build() -> None:
        sentences = load_tagged(data, split, cache, task.kind)
        numbers = {label: number for number, label in enumerate(task.labels)}
        check_tags(sentences, numbers, f"{describe(data)} {split}")
        meta = {"words": 0, "lost_words": 0, "pieces": 0, "unknown": 0, "repaired": 0}
        rows = _rows(sentences, numbers, word_tokenizer(backbone), max_length, meta)
        write_ragged(path, _COLUMNS, rows, meta)
        if meta["repaired"]:
            where = f"{describe(data)} {split}"
            _LOG.warning("%s: %d I- tags that continue nothing are read as B-", where, meta["repaired"])

    return TokenExamples(mapped(path, build))


def _rows(
    sentences: Sequence[Sentence], numbers: dict[str, int], tokenizer: Any, max_length: int, meta: dict[str, int]
) -> Iterator[list[list[int]]]:
    if max_length < 3:
        raise InputError(Fault("max_length must be at least 3", "max_length", str(max_length)))
    unknown = unknown_ids(tokenizer)
    for start in range(0, len(sentences), _SENTENCES_AT_ONCE):
        batch = sentences[start : start + _SENTENCES_AT_ONCE]
        encoded = tokenizer(
            [list(sentence.tokens) for sentence in batch],
            is_split_into_words=True,
            truncation=True,
            max_length=max_length,
            return_attention_mask=False,
        )
        for place, sentence in enumerate(batch):
            ids, word_ids = encoded["input_ids"][place], encoded.word_ids(place)
            gold = [numbers[tag] for tag in sentence.tags]
            starts = _starts(word_ids, len(gold))
            meta["words"] += len(gold)
            meta["repaired"] += sentence.repaired
            meta["lost_words"] += starts.count(NOWHERE)
            meta["pieces"] += sum(word is not None for word in word_ids)
            meta["unknown"] += sum(map(unknown.__contains__, ids))
            yield [ids, _labels(starts, gold, len(ids)), starts, gold]


def _starts(word_ids: Sequence[int | None], words: int) -> list[int]:
    starts = [NOWHERE] * words
    for place, word in enumerate(word_ids):
        if word is not None and starts[word] == NOWHERE:
            starts[word] = place
    return starts


def _labels(starts: Sequence[int], gold: Sequence[int], length: int) -> list[int]:
    labels = [IGNORED] * length
    for start, label in zip(starts, gold, strict=True):
        if start != NOWHERE:
            labels[start] = label
    return labels
