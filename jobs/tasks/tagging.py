"""A label for the first piece of every word: named entities, scored whole, and parts of speech, word by word."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jobs.data.load import describe, load_tagged
from jobs.data.sentences import Sentence
from jobs.errors import Fault, InputError
from jobs.models.rows import MaskedRows
from jobs.scoring.metrics import (
    SPAN_COLUMNS,
    WORD_COLUMNS,
    Numbers,
    Statistics,
    metric_over,
    span_statistics,
    word_statistics,
)
from jobs.spec import TaskAdapterSpec, TaskKind, TaskRef
from jobs.tasks.heads import tagging_head
from jobs.tasks.protocol import HeadTask, TrainingSet
from jobs.tokens.batches import Example
from jobs.tokens.evaluation_sets import NO_LABELS, Batch, EvaluationSet, Reader, by_length, padded_rows
from jobs.tokens.token_labels import NOWHERE, TokenExample, TokenExamples, token_labels


def training_set(spec: TaskAdapterSpec, cache: Path) -> TrainingSet:
    """The sentences that have a labelled word at all."""
    length = spec.training.max_length
    examples = token_labels(spec.data, "train", spec.task, spec.backbone, length, cache)
    rows = [row for one in examples if len((row := example(one)).positions)]
    if not rows:
        raise InputError(Fault("no training sentence has a labelled word", "data"))
    lengths = np.array([len(row.ids) for row in rows])
    details = {"train_sentences": len(rows), **_repaired(examples)}
    return TrainingSet(lengths, lambda number: (rows[number],), details)


def example(one: TokenExample) -> Example:
    """A sentence with its labelled positions."""
    positions = np.flatnonzero(one.labels >= 0)
    return Example(one.input_ids, positions, one.labels[positions])


def loss(logits: Tensor, batch: MaskedRows) -> Tensor:
    """Cross-entropy, mean over words."""
    return torch.nn.functional.cross_entropy(logits, batch.labels)


@dataclass(frozen=True, slots=True)
class Counting:
    """How words are counted: `columns` of the statistics, `metrics` of their sums, and `unread`, the prediction for a
    word that the model never saw, "" for none, which is wrong. `statistics`: see `jobs.scoring.metrics`.
    """

    columns: tuple[str, ...]
    metrics: tuple[str, ...]
    unread: str
    statistics: Callable[[Numbers, Numbers, Numbers, Sequence[str]], Statistics]


_COUNTING: dict[TaskKind, Counting] = {
    "ner": Counting(SPAN_COLUMNS, ("f1", "precision", "recall"), "O", span_statistics),
    "pos": Counting(
        WORD_COLUMNS, ("accuracy",), "", lambda gold, found, sentences, _: word_statistics(gold, found, sentences)
    ),
}
NOTHING = -1  # the label number of a word without a prediction


@dataclass(frozen=True, slots=True, eq=False)
class WordSet:
    """Sentences whose words have labels. `gold`, `sentences` [words]: each word's label number and sentence.

    `lost_words`: words beyond `max_length` or without a piece; they are scored as predicted O, or as wrong where there
    is no O. Predictions are label numbers [words]. `texts` reads the sentences again.
    """

    batches: list[Batch]
    task: TaskRef
    gold: Numbers
    sentences: Numbers
    found: TokenExamples
    texts: Callable[[], Sequence[Sentence]]

    @property
    def columns(self) -> tuple[str, ...]:
        """Counts of entities, or of words."""
        return _COUNTING[self.task.kind].columns

    def score(self, outputs: Sequence[Tensor]) -> tuple[Statistics, Numbers]:
        """Statistics [sentences, columns], label numbers [words]."""
        counting, labels = _COUNTING[self.task.kind], self.task.labels
        unread = labels.index(counting.unread) if counting.unread else NOTHING
        predictions = np.full(len(self.gold), unread, dtype=np.int64)
        for batch, logits in zip(self.batches, outputs, strict=True):
            predictions[batch.targets] = logits.argmax(-1).numpy()
        return counting.statistics(self.gold, predictions, self.sentences, labels), predictions

    def metrics(self, sums: Statistics) -> dict[str, float]:
        """F1, precision and recall of entities, or accuracy of words, in points."""
        return {name: float(metric_over(name, self.columns)(sums)) for name in _COUNTING[self.task.kind].metrics}

    def details(self) -> dict[str, Any]:
        """Unknown pieces, lost words, mended tags."""
        found = self.found
        return {"unknown_share": found.unknown_share, "lost_words": found.lost_words, **_repaired(found)}

    def rows(self, predictions: Numbers) -> Iterator[dict[str, Any]]:
        """Words with gold and predicted tags; "" where there is no prediction."""
        tags = iter(self.task.labels[number] if number != NOTHING else "" for number in predictions.tolist())
        for sentence in self.texts():
            predicted = [next(tags) for _ in sentence.tokens]
            yield {"tokens": sentence.tokens, "gold": sentence.tags, "predicted": predicted}


def _repaired(examples: TokenExamples) -> dict[str, int]:
    return {"repaired_tags": examples.repaired} if examples.repaired else {}


def word_set(evaluation: EvaluationSet, backbone: Reader, cache: Path) -> WordSet:
    """The sentences of a split."""
    task, data, split = evaluation.task, evaluation.data, evaluation.split
    if task.kind == "ner" and "O" not in task.labels:
        got = ", ".join(task.labels)
        raise InputError(Fault("the labels lack O", f"task {task.name}", got, "list every IOB2 label, O included"))
    examples = token_labels(data, split, task, backbone.ref, evaluation.max_length, cache)
    everything = list(examples)
    counts = [len(one.word_starts) for one in everything]
    first = np.cumsum([0, *counts])
    batches = []
    for chosen in by_length(examples.lengths, backbone.device):
        positions, targets = [], []
        width = int(examples.lengths[chosen].max())
        for row, index in enumerate(chosen):
            starts = everything[index].word_starts
            found = np.flatnonzero(starts != NOWHERE)
            positions.append(starts[found] + row * width)
            targets.append(found + first[index])
        rows = padded_rows([everything[index].input_ids for index in chosen], np.concatenate(positions), backbone)
        batches.append(Batch(rows, np.concatenate(targets), NO_LABELS))
    gold = np.concatenate([one.word_labels for one in everything]).astype(np.int64)
    if task.kind == "ner" and not (gold != task.labels.index("O")).any():
        what, todo = f"no entity in the {split} split: F1 has nothing to find", "add sentences with entities"
        raise InputError(Fault(what, describe(data), todo=todo))
    sentences = np.repeat(np.arange(len(everything)), counts)
    texts = partial(load_tagged, data, split, cache, task.kind)
    return WordSet(batches, task, gold, sentences, examples, texts)


WORDS = HeadTask(lambda task: tagging_head(task.labels), training_set, loss, word_set)
