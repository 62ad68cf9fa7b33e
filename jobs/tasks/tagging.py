"""Named entities: a label for the first piece of every word, scored by whole entities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from jobs.data.load import load_ner
from jobs.data.sentences import Sentence
from jobs.errors import Fault, InputError
from jobs.models.rows import MaskedRows
from jobs.scoring.metrics import SPAN_COLUMNS, Numbers, Statistics, f1, precision, recall, span_statistics
from jobs.spec import TaskAdapterSpec
from jobs.tasks.heads import tagging_head
from jobs.tasks.protocol import HeadTask, TrainingSet
from jobs.tokens.batches import Example
from jobs.tokens.evaluation_sets import NO_LABELS, Batch, EvaluationSet, Reader, by_length, padded_rows
from jobs.tokens.token_labels import NOWHERE, TokenExample, token_labels


def training_set(spec: TaskAdapterSpec, cache: Path) -> TrainingSet:
    """The sentences that have a labelled word at all."""
    length = spec.training.max_length
    examples = token_labels(spec.data, "train", spec.task, spec.backbone, length, cache)
    rows = [row for one in examples if len((row := example(one)).positions)]
    if not rows:
        raise InputError(Fault("no training sentence has a labelled word", "data"))
    lengths = np.array([len(row.ids) for row in rows])
    return TrainingSet(lengths, lambda number: (rows[number],), {"train_sentences": len(rows)})


def example(one: TokenExample) -> Example:
    """A sentence with its labelled positions."""
    positions = np.flatnonzero(one.labels >= 0)
    return Example(one.input_ids, positions, one.labels[positions])


def loss(logits: Tensor, batch: MaskedRows) -> Tensor:
    """Cross-entropy, mean over words."""
    return torch.nn.functional.cross_entropy(logits, batch.labels)


@dataclass(frozen=True, slots=True, eq=False)
class WordSet:
    """A named-entity set. `gold`, `sentences` [words]: each word's label number and sentence.

    `lost_words`: words beyond `max_length` or without a piece; they are scored as predicted O. Predictions are label
    numbers [words]. `texts` reads the sentences again.
    """

    columns: ClassVar[tuple[str, ...]] = SPAN_COLUMNS

    batches: list[Batch]
    labels: tuple[str, ...]
    gold: Numbers
    sentences: Numbers
    lost_words: int
    unknown_share: float
    texts: Callable[[], Sequence[Sentence]]

    def score(self, outputs: Sequence[Tensor]) -> tuple[Statistics, Numbers]:
        """Counts of whole entities [sentences, 3], label numbers [words]."""
        predictions = np.full(len(self.gold), self.labels.index("O"), dtype=np.int64)
        for batch, logits in zip(self.batches, outputs, strict=True):
            predictions[batch.targets] = logits.argmax(-1).numpy()
        return span_statistics(self.gold, predictions, self.sentences, self.labels), predictions

    def metrics(self, sums: Statistics) -> dict[str, float]:
        """F1, precision and recall in points."""
        return {"f1": float(f1(sums)), "precision": float(precision(sums)), "recall": float(recall(sums))}

    def details(self) -> dict[str, Any]:
        """Unknown pieces and lost words."""
        return {"unknown_share": self.unknown_share, "lost_words": self.lost_words}

    def rows(self, predictions: Numbers) -> Iterator[dict[str, Any]]:
        """Words with gold and predicted tags."""
        tags = iter(self.labels[number] for number in predictions.tolist())
        for sentence in self.texts():
            predicted = [next(tags) for _ in sentence.tokens]
            yield {"tokens": sentence.tokens, "gold": sentence.tags, "predicted": predicted}


def word_set(evaluation: EvaluationSet, backbone: Reader, cache: Path) -> WordSet:
    """The sentences of a split."""
    task, data, split = evaluation.task, evaluation.data, evaluation.split
    if "O" not in task.labels:
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
    sentences = np.repeat(np.arange(len(everything)), counts)
    texts = partial(load_ner, data, split, cache)
    return WordSet(batches, task.labels, gold, sentences, examples.lost_words, examples.unknown_share, texts)


TAGGING = HeadTask(lambda task: tagging_head(task.labels), training_set, loss, word_set)
