"""What every evaluator gives: scores of an adapter stack on prepared data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from jobs.errors import Fault, InputError
from jobs.scoring.metrics import Numbers, Statistics
from jobs.spec import Mixture, mixture_role
from jobs.tokens.evaluation_sets import EvaluationSet


@dataclass(frozen=True, slots=True)
class Stack:
    """A system: a mixture of adapters, and a task adapter on top of it.

    `adapters`: the directory of each key of the mixture. `theta_pre` is needed by task arithmetic unless the weights
    sum to one, for then it drops out of theta_pre + sum of w_i (theta_i - theta_pre). Without a mixture: the backbone.
    """

    mixture: Mixture | None = None
    adapters: Mapping[str, Path] = field(default_factory=dict)
    task: Path | None = None
    theta_pre: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """`value`: the task's metric, in points or nats per token. `statistics` [examples, columns].

    What the `columns` hold: see `jobs.scoring.metrics.metric_over`.
    """

    value: float
    statistics: Statistics
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Score(Scored):
    """`predictions`: those of the task's evaluation set, see `jobs.tasks`.

    Masked LM: statistics [blocks, 2], summed loss and number of hidden tokens, no `predictions`.
    """

    predictions: Numbers | None = None


class Warm(Protocol):
    """An evaluator that keeps its backbone, its sets and its adapters between requests."""

    def evaluate(self, evaluation: EvaluationSet, stack: Stack) -> Scored:
        """Score one system on one set."""


class Evaluator:
    """One evaluation set and the adapters of one comparison, by role: what a search's trials call.

    `inputs`: role -> adapter directory: the roles of the mixtures' keys, `task@<seed>` (unless masked LM) and
    `theta_pre` where weights need not sum to one.
    """

    def __init__(self, warm: Warm, evaluation: EvaluationSet, inputs: Mapping[str, Path]) -> None:
        """Share `warm` with other evaluators of the same process."""
        self._warm, self._evaluation, self._inputs = warm, evaluation, dict(inputs)

    def evaluate(self, mixture: Mixture, seed: int) -> Scored:
        """Score `mixture` with the adapters of `seed`. Raises InputError for unknown ones, and faults of the rule."""
        adapters = {key: self._directory(mixture_role(key, seed)) for key, _ in mixture.weights}
        stack = Stack(mixture, adapters, self._inputs.get(f"task@{seed}"), self._inputs.get("theta_pre"))
        return self._warm.evaluate(self._evaluation, stack)

    def _directory(self, role: str) -> Path:
        if role not in self._inputs:
            raise InputError(Fault("no such adapter", role, todo=f"known: {', '.join(sorted(self._inputs))}"))
        return self._inputs[role]
