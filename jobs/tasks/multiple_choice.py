"""The more plausible of two choices, such as COPA: each choice is a row of its own and gets one number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np
import torch
from torch import Tensor

from jobs.adapters.heads import multiple_choice_head
from jobs.backbone import Backbone
from jobs.data.load import load_records
from jobs.data.token_pairs import TokenPairs, token_pairs
from jobs.evaluation_sets import Batch, EvaluationSet
from jobs.masked_loss import MaskedRows
from jobs.metrics import Numbers, Statistics, metric_over
from jobs.spec import TaskAdapterSpec
from jobs.tasks import pairs
from jobs.tasks.protocol import HeadTask, TrainingSet

CHOICES = 2


def training_set(spec: TaskAdapterSpec, cache: Path) -> TrainingSet:
    """One row a choice."""
    found = token_pairs(spec.data, "train", spec.task, spec.backbone, spec.training.max_length, cache)
    lengths = found.lengths.reshape(-1, CHOICES).max(axis=1)
    details = {"train_examples": len(lengths), "truncated": found.truncated}
    return TrainingSet(lengths, lambda number: [pairs.example(found[CHOICES * number + i]) for i in (0, 1)], details)


def loss(logits: Tensor, batch: MaskedRows) -> Tensor:
    """Cross-entropy between the choices of an example, mean over examples."""
    right = batch.labels.view(-1, CHOICES).argmax(-1)
    return torch.nn.functional.cross_entropy(logits.view(-1, CHOICES), right)


@dataclass(frozen=True, slots=True, eq=False)
class ChoiceSet:
    """Choices with the gold one's number [examples], 0 or 1; so are predictions."""

    columns: ClassVar[tuple[str, ...]] = pairs.ACCURACY_COLUMNS

    batches: list[Batch]
    gold: Numbers
    found: TokenPairs
    records: datasets.Dataset

    def score(self, outputs: Sequence[Tensor]) -> tuple[Statistics, Numbers]:
        """The choice with the higher number."""
        predictions = pairs.in_order(self.batches, outputs).reshape(-1, CHOICES).argmax(-1)
        return pairs.accuracy_statistics(self.gold, predictions), predictions

    def metrics(self, sums: Statistics) -> dict[str, float]:
        """Accuracy in points."""
        return {"accuracy": float(metric_over("accuracy", self.columns)(sums))}

    def details(self) -> dict[str, Any]:
        """Unknown pieces, and rows cut to the longest length."""
        return {"unknown_share": self.found.unknown_share, "truncated": self.found.truncated}

    def rows(self, predictions: Numbers) -> Iterator[dict[str, Any]]:
        """The example with gold and predicted choice."""
        for row, number in zip(self.records, predictions.tolist(), strict=True):
            yield {**{name: row[name] for name in row if name != "label"}, "gold": row["label"], "predicted": number}


def choice_set(evaluation: EvaluationSet, backbone: Backbone, cache: Path) -> ChoiceSet:
    """The examples of a split."""
    task, data, split = evaluation.task, evaluation.data, evaluation.split
    found = token_pairs(data, split, task, backbone.ref, evaluation.max_length, cache)
    gold = np.array([pair.label for pair in found], dtype=np.int64).reshape(-1, CHOICES).argmax(-1)
    return ChoiceSet(pairs.batches(found, backbone), gold, found, load_records(data, split, task, cache))


MULTIPLE_CHOICE = HeadTask(lambda task: multiple_choice_head(CHOICES), training_set, loss, choice_set)
