"""What one kind of task adds to the common loops of training and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from jobs.models.rows import MaskedRows
from jobs.scoring.metrics import Numbers, Statistics
from jobs.spec import TaskAdapterSpec, TaskRef
from jobs.tasks.heads import HeadShape
from jobs.tokens.batches import Example, Ints
from jobs.tokens.evaluation_sets import Batch, EvaluationSet, Reader


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Training data: `rows(i)` are the token rows of example i, one or more; `lengths` [examples] in tokens.

    `details`: what the record says of the data.
    """

    lengths: Ints
    rows: Callable[[int], Sequence[Example]]
    details: Mapping[str, Any]


def joined(parts: Sequence[TrainingSet]) -> TrainingSet:
    """The examples of several languages one after the other; counts in their details are summed."""
    if len(parts) == 1:
        return parts[0]
    ends = np.cumsum([len(part.lengths) for part in parts])

    def rows(number: int) -> Sequence[Example]:
        place = int(np.searchsorted(ends, number, side="right"))
        return parts[place].rows(number - int(ends[place]) + len(parts[place].lengths))

    details = {name: sum(part.details[name] for part in parts) for name in parts[0].details}
    return TrainingSet(np.concatenate([part.lengths for part in parts]), rows, details)


class ScoredSet(Protocol):
    """An evaluation set of a task with a head, batched on the backbone's device."""

    @property
    def batches(self) -> Sequence[Batch]:
        """Every wanted place once."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What the columns of the statistics hold; see `jobs.scoring.metrics.metric_over`."""

    def score(self, outputs: Sequence[Tensor]) -> tuple[Statistics, Numbers]:
        """Statistics [examples, columns] and predictions, from the head's outputs [K, width] of every batch (CPU)."""

    def metrics(self, sums: Statistics) -> dict[str, float]:
        """All metrics of the kind from statistics summed over examples."""

    def details(self) -> dict[str, Any]:
        """What the record says of the data."""

    def rows(self, predictions: Numbers) -> Iterator[dict[str, Any]]:
        """Each example with what was predicted, for people to read."""


@dataclass(frozen=True, slots=True)
class HeadTask:
    """One kind of task as its parts.

    `head`: the shape of a task's head. `training`: the training split of a spec, tokenized in a cache directory.
    `loss`: mean loss of the head's outputs [K, width] in float32. `evaluation`: an evaluation set. All raise
    InputError for faulty data.
    """

    head: Callable[[TaskRef], HeadShape]
    training: Callable[[TaskAdapterSpec, Path], TrainingSet]
    loss: Callable[[Tensor, MaskedRows], Tensor]
    evaluation: Callable[[EvaluationSet, Reader, Path], ScoredSet]
