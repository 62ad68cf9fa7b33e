"""Prompts and answers as token ids, cached and memory-mapped.

A decoder reads prompt, answer and end token in one row; a T5-like model's encoder reads the prompt and its decoder
writes answer and end token. A prompt that is too long loses its worked examples, the first ones first, then the last
tokens of its longest column, so that the instruction, the question and whatever else stands around it stay; how many
were cut is kept with the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.data.prompts import PromptedText, prompted_texts
from jobs.data.template import Filled
from jobs.errors import Fault, InputError
from jobs.spec import BackboneRef, DataRef, Split, TaskRef
from jobs.spec.identity import key_of
from jobs.tokens.ragged_file import Ids, RaggedFile, RaggedRows, write_ragged
from jobs.tokens.text_blocks import mapped
from jobs.tokens.tokenizer import load_tokenizer, tokenizer_identity, unknown_ids
from jobs.tokens.wording import Wording, wording_of

# Raised when the same texts give other examples than before.
VERSION = 3
_AT_ONCE = 500
_COLUMNS = ("prompt", "answer", "choices", "choice_lengths", "gold")
_SHORTEST = 8


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """What is tokenized. `one_row`: prompt and answer share a row of `max_length` tokens (decoders)."""

    data: DataRef
    split: Split
    task: TaskRef
    backbone: BackboneRef
    max_length: int
    one_row: bool

    @property
    def room(self) -> int:
        """The most tokens of a prompt: in a shared row `max_new_tokens` are kept for the answer."""
        return self.max_length - (self.task.max_new_tokens if self.one_row else 0)


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """One example; all arrays int32 and read-only.

    `prompt`: specials included. `answer`: with its end token, at most `max_new_tokens`. `choices`: without end token,
    each at most `max_new_tokens`, none where the answer is generated. `gold`: the right choice, -1 without choices.
    """

    prompt: Ids
    answer: Ids
    choices: tuple[Ids, ...]
    gold: int


class PromptSet(RaggedRows[PromptTokens]):
    """The examples of a split, with what the caller may want to state about them.

    `cut_prompts`, `cut_answers`: how many examples lost tokens of their prompt, of an answer or a choice.
    `lost_examples`: how many worked examples had no room; `asked_among_them`: how many questions are asked by one that
    was drawn, and are shown another. `unknown_share` (of the prompts' tokens: unknown ones and single bytes). `end`:
    the token after an answer.
    """

    def __init__(self, file: RaggedFile) -> None:
        """Wrap a file of `prompt_tokens`."""
        super().__init__(file)
        self.cut_prompts = int(file.meta["cut_prompts"])
        self.cut_answers = int(file.meta["cut_answers"])
        self.lost_examples = int(file.meta["lost_examples"])
        self.asked_among_them = int(file.meta["asked_among_them"])
        self.end = int(file.meta["end"])
        self.unknown_share = float(file.meta["unknown"]) / max(1, int(file.meta["tokens"]))

    def _value(self, place: int) -> PromptTokens:
        prompt, answer, joined, lengths, gold = (self._file.row(name, place) for name in _COLUMNS)
        ends = lengths.cumsum()
        choices = tuple(joined[end - length : end] for end, length in zip(ends, lengths, strict=True))
        return PromptTokens(prompt, answer, choices, int(gold[0]))


def prompt_tokens(request: PromptRequest, cache: Path) -> PromptSet:
    """The examples of a split, tokenized. Raises InputError for faulty rows and templates, and without room."""
    task = request.task
    if request.room < _SHORTEST:
        got = f"{request.max_length} tokens, {task.max_new_tokens} of them for the answer"
        todo = "raise max_length, or lower max_new_tokens"
        raise InputError(Fault("no room for a prompt", f"task {task.name}", got, todo))
    texts = [task.kind, task.prompt, task.answer, list(task.choices), list(task.labels), task.max_new_tokens]
    texts += [task.examples, task.chat]
    where = [request.data, request.split, tokenizer_identity(request.backbone), request.max_length, request.one_row]
    path = (
        cache / "tokenized" / f"prompts-{request.data.language}-{request.split}-{key_of(VERSION, *texts, *where)}.arrow"
    )
    return PromptSet(mapped(path, lambda: _build(request, path, cache)))


def _build(request: PromptRequest, path: Path, cache: Path) -> None:
    texts = prompted_texts(request.data, request.split, request.task, cache)
    tokenizer = load_tokenizer(request.backbone)
    wording = wording_of(request.task.chat, tokenizer, request.backbone)
    counted = ("cut_prompts", "cut_answers", "lost_examples", "asked_among_them", "unknown", "tokens")
    meta = {**dict.fromkeys(counted, 0), "end": wording.end}
    write_ragged(path, _COLUMNS, _Rows(request, tokenizer, wording, meta).of(texts), meta)


class _Rows:
    """Rows of the file from texts; `meta` is counted up on the way."""

    def __init__(self, request: PromptRequest, tokenizer: Any, wording: Wording, meta: dict[str, int]) -> None:
        self._request, self._tokenizer, self._wording, self._meta = request, tokenizer, wording, meta
        self._unknown = unknown_ids(tokenizer)
        self._before, self._after = _specials(tokenizer, request.one_row)

    def of(self, texts: Sequence[PromptedText]) -> Iterator[list[list[int]]]:
        for start in range(0, len(texts), _AT_ONCE):
            part = texts[start : start + _AT_ONCE]
            asked = self._with_room([self._wording.asked(one, one.examples) for one in part], part)
            prompts = self._encode([one.text for one in asked], offsets=True)
            continuations = self._continuations(part, asked, prompts["input_ids"])
            for one, words, ids, offsets, follow in zip(
                part, asked, prompts["input_ids"], prompts["offset_mapping"], continuations, strict=True
            ):
                self._meta["asked_among_them"] += one.asked_among_them
                yield self._row(one, self._fit(ids, offsets, words), follow)

    def _with_room(self, asked: list[Filled], part: Sequence[PromptedText]) -> list[Filled]:
        """`asked` with fewer worked examples where all of them are too long."""
        shown = [len(one.examples) for one in part]
        long = [place for place, count in enumerate(shown) if count]
        while long:
            ids = self._encode([asked[place].text for place in long])["input_ids"]
            long = [place for place, own in zip(long, ids, strict=True) if len(own) > self._room and shown[place]]
            for place in long:
                shown[place] -= 1
                self._meta["lost_examples"] += 1
                kept = part[place].examples[-shown[place] :] if shown[place] else ()
                asked[place] = self._wording.asked(part[place], kept)
        return asked

    def _encode(self, texts: Sequence[str], offsets: bool = False) -> Any:
        return self._tokenizer(
            list(texts),
            add_special_tokens=False,
            return_attention_mask=False,
            return_offsets_mapping=offsets,
            verbose=False,
        )

    def _continuations(
        self, part: Sequence[PromptedText], asked: Sequence[Filled], prompts: Sequence[list[int]]
    ) -> list[list[list[int]]]:
        """For each example the ids of its choices, or of its first answer, as they follow the prompt."""
        wanted = [[self._wording.answered(text) for text in one.choices or one.answers[:1]] for one in part]
        if not self._request.one_row:  # a decoder of its own begins with the answer: nothing is there to be spaced from
            wanted = [[text.lstrip() for text in texts] for texts in wanted]
        alone = iter(self._encode([text for texts in wanted for text in texts])["input_ids"])
        if not self._request.one_row:
            return [[next(alone) for _ in texts] for texts in wanted]
        whole = iter(
            self._encode([words.text + text for words, own in zip(asked, wanted, strict=True) for text in own])[
                "input_ids"
            ]
        )
        return [
            [_following(prompt, next(whole), next(alone)) for _ in own]
            for prompt, own in zip(prompts, wanted, strict=True)
        ]

    @property
    def _room(self) -> int:
        return self._request.room - len(self._before) - len(self._after)

    def _fit(self, ids: list[int], offsets: Sequence[tuple[int, int]], asked: Filled) -> list[int]:
        if ids[: len(self._before)] == self._before:  # a chat template writes the begin token itself
            ids, offsets = ids[len(self._before) :], offsets[len(self._before) :]
        self._meta["tokens"] += len(ids)
        self._meta["unknown"] += sum(map(self._unknown.__contains__, ids))
        self._meta["cut_prompts"] += len(ids) > self._room
        return [*self._before, *shortened(ids, offsets, asked.spans, self._room), *self._after]

    def _row(self, one: PromptedText, prompt: list[int], follow: list[list[int]]) -> list[list[int]]:
        most = self._request.task.max_new_tokens
        answer = [*follow[max(0, one.gold)], self._wording.end]
        self._meta["cut_answers"] += len(answer) > most or any(len(ids) > most for ids in follow)
        choices = [ids[:most] for ids in follow] if one.choices else []
        return [prompt, answer[:most], [i for ids in choices for i in ids], list(map(len, choices)), [one.gold]]


def shortened(
    ids: list[int], offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]], room: int
) -> list[int]:
    """At most `room` of `ids`: the column with the most tokens loses its last ones, then the start what is left over.

    `offsets`: where each token stands in the text; `spans`: where the columns' values do.
    """
    excess = len(ids) - room
    if excess <= 0:
        return ids
    inside = [[place for place, (a, b) in enumerate(offsets) if start <= a < b <= end] for start, end in spans]
    longest = max(inside, key=len, default=[])
    lost = set(longest[max(0, len(longest) - excess) :])
    kept = [token for place, token in enumerate(ids) if place not in lost]
    return kept[len(kept) - room :]


def _following(prompt: list[int], whole: list[int], alone: list[int]) -> list[int]:
    """The answer's ids as the tokenizer joins it to the prompt; by itself where joining changes the prompt's ids."""
    joined = whole[: len(prompt)] == prompt and len(whole) > len(prompt)
    return whole[len(prompt) :] if joined else alone


def _specials(tokenizer: Any, one_row: bool) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and after a text; nothing after a prompt that an answer follows in its row."""
    empty = tokenizer("", add_special_tokens=True)["input_ids"]
    begins = bool(empty) and empty[0] == tokenizer.bos_token_id and empty[0] != tokenizer.eos_token_id
    before = empty[:1] if begins else []
    return before, [] if one_row else empty[len(before) :]
