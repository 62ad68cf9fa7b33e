"""The interface of a strategy, and the error of a difference between two of its trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from jobs.spec import StrategyName
from search_spaces.mixtures.candidates import Candidate


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate to score on the first `share` of the validation set.

    `objective`: the name of the one that is scored, in a joint search; a strategy's own trials mean all of them.
    """

    candidate: Candidate
    share: float = 1.0
    objective: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """A finished trial. `value`: its mean score, higher is better whatever the metric.

    `folds`: the same without each of some equal parts of the examples, in one order for all trials of a share; empty
    where they were not kept.
    """

    trial: Trial
    value: float
    folds: tuple[float, ...] = ()


class Strategy(Protocol):
    """Proposes trials. The same space, spec and observations in the same order give the same proposals."""

    def ask(self) -> Trial | None:
        """The next trial; None while scores of earlier ones are needed first, or for good when all are told."""

    def tell(self, observation: Observation) -> None:
        """Take the score of a trial that was asked for, in the order of the asking. A repeated one is told again."""


# Strategies whose proposals rest on all scores so far: they run at most `ahead` trials ahead of what they know.
MODEL_BASED: tuple[StrategyName, ...] = ("tpe", "gp", "cma")
SURE = 1.645  # standard errors of a one-sided 95 %


def paired_error(first: Sequence[float], second: Sequence[float]) -> float:
    """Standard error of the difference of two scores from their leave-one-part-out scores (jackknife).

    sqrt((n - 1) / n * sum of squared deviations of the n differences from their mean); nan without two parts.
    """
    count = len(first)
    if count < 2 or count != len(second):
        return math.nan
    differences = [a - b for a, b in zip(first, second, strict=True)]
    mean = sum(differences) / count
    return math.sqrt((count - 1) / count * sum((value - mean) ** 2 for value in differences))


def surely_below(one: Observation, best: Observation) -> bool:
    """Whether `one` is worse than `best` beyond chance; never without both candidates' parts."""
    error = paired_error(one.folds, best.folds)
    return not math.isnan(error) and best.value - one.value > SURE * error
