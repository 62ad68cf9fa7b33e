"""The more plausible of two choices, such as COPA: each choice is a row of its own and gets one number."""

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
from jobs.tasks.heads import multiple_choice_head
from jobs.tasks.protocol import HeadTask, TrainingSet
from jobs.tokens.evaluation_sets import EvaluationSet, Reader
from jobs.tokens.token_pairs import token_pairs

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


def choice_set(evaluation: EvaluationSet, backbone: Reader, cache: Path) -> pairs.AccuracySet:
    """The examples of a split; predictions are the number of a choice, 0 or 1."""
    task, data, split = evaluation.task, evaluation.data, evaluation.split
    found = token_pairs(data, split, task, backbone.ref, evaluation.max_length, cache)
    gold = np.array([pair.label for pair in found], dtype=np.int64).reshape(-1, CHOICES).argmax(-1)
    records = load_records(data, split, task, cache)
    return pairs.AccuracySet(pairs.batches(found, backbone), gold, found, records, _told)


def _told(row: Mapping[str, Any], number: int) -> dict[str, Any]:
    return {**{name: row[name] for name in row if name != "label"}, "gold": row["label"], "predicted": number}


MULTIPLE_CHOICE = HeadTask(lambda task: multiple_choice_head(CHOICES), training_set, loss, choice_set)
