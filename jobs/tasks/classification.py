"""Classification of pairs of texts, such as natural language inference: a label for premise and hypothesis."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jobs.data.load import load_records
from jobs.models.rows import MaskedRows
from jobs.spec import TaskAdapterSpec
from jobs.tasks import pairs
from jobs.tasks.heads import classification_head
from jobs.tasks.protocol import HeadTask, TrainingSet
from jobs.tokens.evaluation_sets import EvaluationSet, Reader
from jobs.tokens.token_pairs import token_pairs


def training_set(spec: TaskAdapterSpec, cache: Path) -> TrainingSet:
    """One row an example."""
    found = token_pairs(spec.data, "train", spec.task, spec.backbone, spec.training.max_length, cache)
    details = {"train_examples": len(found), "truncated": found.truncated}
    return TrainingSet(found.lengths, lambda number: (pairs.example(found[number]),), details)


def loss(logits: Tensor, batch: MaskedRows) -> Tensor:
    """Cross-entropy, mean over examples."""
    return torch.nn.functional.cross_entropy(logits, batch.labels)


def pair_set(evaluation: EvaluationSet, backbone: Reader, cache: Path) -> pairs.AccuracySet:
    """The pairs of a split; predictions are label numbers."""
    task, data, split = evaluation.task, evaluation.data, evaluation.split
    found = token_pairs(data, split, task, backbone.ref, evaluation.max_length, cache)
    gold = np.array([pair.label for pair in found], dtype=np.int64)

    def told(row: Mapping[str, Any], number: int) -> dict[str, Any]:
        texts = {name: row[name] for name in ("premise", "hypothesis")}
        return {**texts, "gold": row["label"], "predicted": task.labels[number]}

    records = load_records(data, split, task, cache)
    return pairs.AccuracySet(pairs.batches(found, backbone), gold, found, records, told)


CLASSIFICATION = HeadTask(lambda task: classification_head(task.labels), training_set, loss, pair_set)
