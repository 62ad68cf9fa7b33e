"""Questions on a text as windows of token ids with the answer's place, cached and memory-mapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jobs.data.load import describe, load_records
from jobs.errors import Fault, InputError
from jobs.spec import BackboneRef, DataRef, Split, TaskRef
from jobs.spec.identity import key_of
from jobs.tokens.ragged_file import Ids, RaggedFile, RaggedRows, write_ragged
from jobs.tokens.text_blocks import mapped
from jobs.tokens.token_pairs import pair_tokenizer
from jobs.tokens.tokenizer import tokenizer_identity, unknown_ids

# Raised when the same questions give other windows than before.
VERSION = 1
NOWHERE = -1
_ROWS_AT_ONCE = 200
_COLUMNS = ("input_ids", "types", "begins", "ends", "answer", "question")


@dataclass(frozen=True, slots=True)
class Window:
    """One question with a part of its context; arrays int32 and read-only, [length], specials included.

    `begins`, `ends`: where each token of the context begins and ends, in characters of the context; -1 for the other
    tokens. `answer`: positions of the first gold answer's first and last token, (0, 0) when the window does not hold
    it whole. `question`: number of the question in the split.
    """

    input_ids: Ids
    types: Ids
    begins: Ids
    ends: Ids
    answer: Ids
    question: int


class Windows(RaggedRows[Window]):
    """The windows of a split in the questions' order. `unknown_share`: see `TokenExamples`.

    `questions`: how many there are; `cut_questions`: how many of them were too long for the window.
    """

    def __init__(self, file: RaggedFile) -> None:
        """Wrap a file of `token_windows`."""
        super().__init__(file)
        self.questions = int(file.meta["questions"])
        self.cut_questions = int(file.meta["cut_questions"])
        self.unknown_share = float(file.meta["unknown"]) / max(1, int(file.meta["pieces"]))
        self.lengths = file.lengths("input_ids")

    def _value(self, place: int) -> Window:
        ids, types, begins, ends, answer, question = (self._file.row(name, place) for name in _COLUMNS)
        return Window(ids, types, begins, ends, answer, int(question[0]))


class _Asked(NamedTuple):
    """One row: the question, its context, and where its first gold answer begins and ends in the context."""

    question: str
    context: str
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class _WindowRequest:
    tokenizer: Any
    max_length: int
    stride: int
    where: str

    @property
    def most_question(self) -> int:
        """Tokens that a question keeps: half of the window."""
        return (self.max_length - int(self.tokenizer.num_special_tokens_to_add(pair=True))) // 2

    @property
    def most_stride(self) -> int:
        """Strides are below this: what a question leaves, but for some tokens, since a cut one may be split anew."""
        return self.most_question - self.most_question // 8


def token_windows(
    data: DataRef, split: Split, task: TaskRef, backbone: BackboneRef, max_length: int, cache: Path
) -> Windows:
    """The questions of a split as `<s> question </s></s> part of the context </s>`, cut as run_qa of transformers does.

    Neighbouring windows of a context share `task.stride` tokens. Questions are cut to half of the window. Raises
    InputError for faulty rows, for a stride of half the window or more, and, without a stride, for contexts that are
    longer than one window.
    """
    key = key_of("token_windows", VERSION, data, split, task.stride, tokenizer_identity(backbone), max_length)
    path = cache / "tokenized" / f"{task.kind}-{data.language}-{split}-{key}.arrow"

    def build() -> None:
        rows = load_records(data, split, task, cache)
        request = _WindowRequest(pair_tokenizer(backbone), max_length, task.stride, f"{describe(data)} {split}")
        if request.stride >= request.most_stride:
            got, todo = (
                f"stride {request.stride}, max_length {max_length}",
                f"use less than {request.most_stride}, or 0",
            )
            raise InputError(Fault("the stride leaves a window nothing new", f"task {task.name}", got, todo))
        meta = {"questions": 0, "cut_questions": 0, "pieces": 0, "unknown": 0}
        write_ragged(path, _COLUMNS, _windows(map(_asked, rows), request, meta), meta)

    return Windows(mapped(path, build))


def _asked(row: dict[str, Any]) -> _Asked:
    begin, text = row["answers"]["answer_start"][0], row["answers"]["text"][0]
    # Some questions of SQuAD begin with many blanks, which would fill a window.
    return _Asked(row["question"].strip(), row["context"], begin, begin + len(text))


def _windows(
    rows: Iterator[_Asked], request: _WindowRequest, meta: dict[str, int]
) -> Iterator[list[Sequence[int] | Ids]]:
    long: list[tuple[int, int]] = []  # (row, tokens) of the contexts that one window does not hold
    unknown, specials = unknown_ids(request.tokenizer), request.tokenizer.num_special_tokens_to_add(pair=True)
    while batch := list(islice(rows, _ROWS_AT_ONCE)):
        batch = _with_short_questions(batch, request, meta)
        if not request.stride:
            long += _beyond_a_window(batch, meta["questions"], request)
        if not long:
            for window in _encoded(batch, meta["questions"], request):
                meta["pieces"] += len(window[0]) - specials
                meta["unknown"] += sum(map(unknown.__contains__, window[0]))
                yield window
        meta["questions"] += len(batch)
    if long:
        raise InputError(_too_long(long, request))


def _too_long(long: Sequence[tuple[int, int]], request: _WindowRequest) -> Fault:
    """All contexts of a split that are too long have one cause and one cure, so they are one fault."""
    row, tokens = long[0]
    got = f"{tokens} tokens with its question, the window has {request.max_length}"
    if len(long) > 1:
        got += f"; so are those of {len(long) - 1} more rows, the longest of {max(count for _, count in long)}"
    todo = "set the task's `stride`, e.g. a third of max_length, or raise max_length"
    return Fault("the context is longer than the window", f"{request.where}: row {row}", got, todo)


def _with_short_questions(batch: Sequence[_Asked], request: _WindowRequest, meta: dict[str, int]) -> list[_Asked]:
    """Questions of more tokens than half of the window are cut to that, so that there is room for the context."""
    encoded = request.tokenizer(
        [row.question for row in batch],
        add_special_tokens=False,
        return_attention_mask=False,
        return_offsets_mapping=True,
        verbose=False,
    )
    most = request.most_question
    long = [place for place, ids in enumerate(encoded["input_ids"]) if len(ids) > most]
    meta["cut_questions"] += len(long)
    short = list(batch)
    for place in long:
        end = encoded["offset_mapping"][place][most - 1][1]
        short[place] = batch[place]._replace(question=batch[place].question[:end])
    return short


def _beyond_a_window(batch: Sequence[_Asked], first: int, request: _WindowRequest) -> Iterator[tuple[int, int]]:
    encoded = request.tokenizer(
        [row.question for row in batch], [row.context for row in batch], return_attention_mask=False, verbose=False
    )
    lengths = enumerate(map(len, encoded["input_ids"]), first)
    yield from ((number, length) for number, length in lengths if length > request.max_length)


def _encoded(batch: Sequence[_Asked], first: int, request: _WindowRequest) -> Iterator[list[Sequence[int] | Ids]]:
    encoded = request.tokenizer(
        [row.question for row in batch],
        [row.context for row in batch],
        truncation="only_second",
        max_length=request.max_length,
        stride=request.stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_token_type_ids=True,
        return_attention_mask=False,
    )
    for place, sample in enumerate(encoded["overflow_to_sample_mapping"]):
        row, offsets = batch[sample], np.asarray(encoded["offset_mapping"][place], dtype=np.int32)
        context = np.array([part == 1 for part in encoded.sequence_ids(place)])
        begins, ends = (np.where(context, offsets[:, side], NOWHERE) for side in (0, 1))
        ids, types = encoded["input_ids"][place], encoded["token_type_ids"][place]
        yield [ids, types, begins, ends, _answer(begins, ends, row), [first + sample]]


def _answer(begins: Ids, ends: Ids, row: _Asked) -> list[int]:
    """Places of the first and the last token of the answer, [0, 0] unless the window holds all of it.

    The first token is the last one that begins at the answer's begin or before it, the last token the first one
    that ends at its end or after it.
    """
    inside = np.flatnonzero(begins != NOWHERE)
    if not len(inside) or begins[inside[0]] > row.begin or ends[inside[-1]] < row.end:
        return [0, 0]
    first = inside[np.flatnonzero(begins[inside] <= row.begin)[-1]]
    last = inside[np.flatnonzero(ends[inside] >= row.end)[0]]
    return [int(first), int(max(first, last))]
