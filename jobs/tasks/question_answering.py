"""Extractive questions: the answer is a span of the context, the best one over all windows of it.

As run_qa of `transformers` (and the language-arithmetic code) does: of each window the `BEST` starts and the `BEST`
ends of highest output are paired, spans of more than `LONGEST` tokens are left out, and the pair with the highest sum
over all windows is the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import datasets
import numpy as np
import torch
from torch import Tensor

from jobs.data.load import load_records
from jobs.models.rows import MaskedRows
from jobs.scoring.metrics import EXAMPLES, Numbers, Statistics, metric_over
from jobs.scoring.squad import answer_f1, exact_match
from jobs.spec import TaskAdapterSpec, TaskRef
from jobs.tasks.heads import question_answering_head
from jobs.tasks.protocol import HeadTask, TrainingSet
from jobs.tokens.batches import Example
from jobs.tokens.evaluation_sets import NO_LABELS, Batch, EvaluationSet, Reader, by_length, padded_rows
from jobs.tokens.token_windows import NOWHERE, Window, Windows, token_windows

BEST = 20
LONGEST = 30


class Span(NamedTuple):
    """A candidate: characters of the context, and the sum of its start's and its end's output."""

    begin: int
    end: int
    score: float


def training_set(spec: TaskAdapterSpec, cache: Path) -> TrainingSet:
    """One row a window; a window without its answer points at the first token."""
    length = spec.training.max_length
    windows = token_windows(spec.data, "train", spec.task, spec.backbone, length, cache)
    details = {"train_examples": windows.questions, "train_windows": len(windows)}
    details["cut_questions"] = windows.cut_questions
    return TrainingSet(windows.lengths, lambda number: (example(windows[number]),), details)


def example(window: Window) -> Example:
    """A window read at all its tokens; the labels are the positions of the answer's first and last token."""
    return Example(window.input_ids, np.arange(len(window.input_ids)), window.answer, types=window.types)


def loss(logits: Tensor, batch: MaskedRows) -> Tensor:
    """Mean of the cross-entropies of starts and ends over each row's own tokens, padding left out."""
    count, width = batch.rows.ids.shape
    grid = logits.new_full((count * width, 2), -torch.inf).index_copy(0, batch.rows.positions[0], logits)
    starts, ends = grid.view(count, width, 2).unbind(-1)
    answers = batch.labels.view(count, 2)
    losses = (
        torch.nn.functional.cross_entropy(starts, answers[:, 0]),
        torch.nn.functional.cross_entropy(ends, answers[:, 1]),
    )
    return (losses[0] + losses[1]) / 2


def best_span(window: Window, outputs: Statistics) -> Span | None:
    """The best span of one window from outputs [length, 2], the earliest of equals; None without a candidate."""
    inside = window.begins != NOWHERE
    starts, ends = (_highest(outputs[:, side]) for side in (0, 1))
    starts, ends = starts[inside[starts]], ends[inside[ends]]
    sums = outputs[starts, 0][:, None] + outputs[ends, 1][None, :]
    lengths = ends[None, :] - starts[:, None] + 1
    sums[(lengths < 1) | (lengths > LONGEST)] = -np.inf
    if not sums.size or np.isneginf(sums.max()):
        return None
    first, last = divmod(int(sums.argmax()), len(ends))
    return Span(int(window.begins[starts[first]]), int(window.ends[ends[last]]), float(sums[first, last]))


def _highest(values: Statistics) -> Numbers:
    return np.argsort(-values, kind="stable")[:BEST]


@dataclass(frozen=True, slots=True, eq=False)
class QuestionSet:
    """Questions with their windows. Predictions: [questions, 2], characters of the context, (0, 0) for no answer."""

    columns: ClassVar[tuple[str, ...]] = (EXAMPLES, "f1", "exact_match")

    batches: list[Batch]
    task: TaskRef
    language: str
    windows: Windows
    records: datasets.Dataset

    def score(self, outputs: Sequence[Tensor]) -> tuple[Statistics, Numbers]:
        """The best span over each question's windows against its gold answers."""
        best: dict[int, Span] = {}
        for number, own in self._by_window(outputs):
            window = self.windows[number]
            span = best_span(window, own)
            if span is not None and (window.question not in best or span.score > best[window.question].score):
                best[window.question] = span
        predictions = np.zeros((self.windows.questions, 2), dtype=np.int64)
        for question, span in best.items():
            predictions[question] = span.begin, span.end
        rows = [self._points(row, *place) for row, place in zip(self.records, predictions.tolist(), strict=True)]
        return np.array(rows, dtype=np.float64), predictions

    def _by_window(self, outputs: Sequence[Tensor]) -> Iterator[tuple[int, Statistics]]:
        """Each window's outputs [length, 2], in the order of the windows."""
        found: dict[int, Statistics] = {}
        for batch, own in zip(self.batches, outputs, strict=True):
            values = own.double().numpy()
            starts = np.flatnonzero(np.diff(batch.targets, prepend=-1))
            for start, part in zip(starts.tolist(), np.split(values, starts[1:]), strict=True):
                found[int(batch.targets[start])] = part
        yield from sorted(found.items())

    def _points(self, row: dict[str, Any], begin: int, end: int) -> tuple[float, float, float]:
        predicted, gold = row["context"][begin:end], row["answers"]["text"]
        rules = (self.language, self.task.answer_rules)
        return 1.0, 100.0 * answer_f1(predicted, gold, *rules), 100.0 * exact_match(predicted, gold, *rules)

    def metrics(self, sums: Statistics) -> dict[str, float]:
        """F1 and exact match in points."""
        return {name: float(metric_over(name, self.columns)(sums)) for name in self.columns[1:]}

    def details(self) -> dict[str, Any]:
        """Unknown pieces, windows, and questions that were cut."""
        found = self.windows
        return {"unknown_share": found.unknown_share, "windows": len(found), "cut_questions": found.cut_questions}

    def rows(self, predictions: Numbers) -> Iterator[dict[str, Any]]:
        """The question with gold and predicted answers."""
        for row, (begin, end) in zip(self.records, predictions.tolist(), strict=True):
            gold, predicted = row["answers"]["text"], row["context"][begin:end]
            yield {"question": row["question"], "gold": gold, "predicted": predicted, "begins_at": begin}


def question_set(evaluation: EvaluationSet, backbone: Reader, cache: Path) -> QuestionSet:
    """The questions of a split."""
    task, data, split = evaluation.task, evaluation.data, evaluation.split
    windows = token_windows(data, split, task, backbone.ref, evaluation.max_length, cache)
    batches = []
    for chosen in by_length(windows.lengths, backbone.device):
        own = [windows[index] for index in chosen.tolist()]
        width = int(windows.lengths[chosen].max())
        positions = np.concatenate([np.arange(len(one.input_ids)) + row * width for row, one in enumerate(own)])
        targets = np.repeat(chosen, windows.lengths[chosen])
        rows = padded_rows([one.input_ids for one in own], positions, backbone, [one.types for one in own])
        batches.append(Batch(rows, targets, NO_LABELS))
    return QuestionSet(batches, task, data.language, windows, load_records(data, split, task, cache))


QUESTION_ANSWERING = HeadTask(lambda task: question_answering_head(), training_set, loss, question_set)
