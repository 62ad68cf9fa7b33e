"""Classification of pairs of texts, such as natural language inference: a label for premise and hypothesis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np
import torch
from torch import Tensor

from jobs.adapters.heads import classification_head
from jobs.backbone import Backbone
from jobs.data.load import load_records
from jobs.data.token_pairs import TokenPairs, token_pairs
from jobs.evaluation_sets import Batch, EvaluationSet
from jobs.masked_loss import MaskedRows
from jobs.metrics import Numbers, Statistics, metric_over
from jobs.spec import TaskAdapterSpec
from jobs.tasks import pairs
from jobs.tasks.protocol import HeadTask, TrainingSet


def training_set(spec: TaskAdapterSpec, cache: Path) -> TrainingSet:
    """One row an example."""
    found = token_pairs(spec.data, "train", spec.task, spec.backbone, spec.training.max_length, cache)
    details = {"train_examples": len(found), "truncated": found.truncated}
    return TrainingSet(found.lengths, lambda number: (pairs.example(found[number]),), details)


def loss(logits: Tensor, batch: MaskedRows) -> Tensor:
    """Cross-entropy, mean over examples."""
    return torch.nn.functional.cross_entropy(logits, batch.labels)


@dataclass(frozen=True, slots=True, eq=False)
class PairSet:
    """Pairs with gold label numbers [examples]; predictions are label numbers."""

    columns: ClassVar[tuple[str, ...]] = pairs.ACCURACY_COLUMNS

    batches: list[Batch]
    labels: tuple[str, ...]
    gold: Numbers
    found: TokenPairs
    records: datasets.Dataset

    def score(self, outputs: Sequence[Tensor]) -> tuple[Statistics, Numbers]:
        """The label of the highest output."""
        predictions = pairs.in_order(self.batches, outputs).argmax(-1)
        return pairs.accuracy_statistics(self.gold, predictions), predictions

    def metrics(self, sums: Statistics) -> dict[str, float]:
        """Accuracy in points."""
        return {"accuracy": float(metric_over("accuracy", self.columns)(sums))}

    def details(self) -> dict[str, Any]:
        """Unknown pieces, and pairs cut to the longest length."""
        return {"unknown_share": self.found.unknown_share, "truncated": self.found.truncated}

    def rows(self, predictions: Numbers) -> Iterator[dict[str, Any]]:
        """Premise and hypothesis with gold and predicted label."""
        for row, number in zip(self.records, predictions.tolist(), strict=True):
            yield {
                "premise": row["premise"],
                "hypothesis": row["hypothesis"],
                "gold": row["label"],
                "predicted": self.labels[number],
            }


def pair_set(evaluation: EvaluationSet, backbone: Backbone, cache: Path) -> PairSet:
    """The pairs of a split."""
    task, data, split = evaluation.task, evaluation.data, evaluation.split
    found = token_pairs(data, split, task, backbone.ref, evaluation.max_length, cache)
    gold = np.array([pair.label for pair in found], dtype=np.int64)
    return PairSet(pairs.batches(found, backbone), task.labels, gold, found, load_records(data, split, task, cache))


CLASSIFICATION = HeadTask(lambda task: classification_head(task.labels), training_set, loss, pair_set)
