"""What a candidate is worth to its search: its mean score, or in a joint search what it gains for all objectives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from jobs.spec import SearchSpec, TrialScores, metric_of
from search_spaces.mixtures.objectives import Gains, gains, surrogate
from search_spaces.strategies.strategy import Trial


@dataclass(frozen=True, slots=True)
class ScoredTrial:
    """A candidate and its scores, one for each objective of the search, in their order."""

    trial: Trial
    each: tuple[TrialScores, ...]

    @property
    def means(self) -> tuple[float, ...]:
        """Mean over seeds for each objective, in its metric's own direction."""
        return tuple(fmean(scores.values.values()) for scores in self.each)

    @property
    def finite(self) -> bool:
        """Whether every score is a number."""
        return all(math.isfinite(value) for scores in self.each for value in scores.values.values())

    @property
    def seconds(self) -> float:
        """What the scores took to compute; 0 where all of them were kept."""
        return sum(scores.seconds for scores in self.each)


def seen_gains(spec: SearchSpec, scores: Sequence[float], reference: ScoredTrial) -> Gains:
    """The gains of scores, one an objective, over the reference's means."""
    return gains(scores, reference.means, [metric_of(objective.task)[1] for objective in spec.objectives])


def value(spec: SearchSpec, finished: ScoredTrial, reference: ScoredTrial | None) -> float:
    """Higher is better, and the same whenever it is asked; nan while the reference of a joint search is not scored."""
    if not spec.is_joint:
        return _sign(spec) * finished.means[0]
    if reference is None or not (finished.finite and reference.finite):
        return math.nan
    return surrogate(seen_gains(spec, finished.means, reference), spec.choice)


def fold_means(finished: ScoredTrial) -> tuple[tuple[float, ...], ...]:
    """Without each part of the examples, the mean over seeds for each objective: [parts][objectives].

    Empty where parts were not kept, or where objectives have different numbers of them.
    """
    each = [tuple(map(fmean, zip(*scores.folds.values(), strict=True))) for scores in finished.each]
    return tuple(zip(*each, strict=True)) if len({len(parts) for parts in each}) == 1 else ()


def fold_values(spec: SearchSpec, finished: ScoredTrial, reference: ScoredTrial | None) -> tuple[float, ...]:
    """`value` without each part of the examples."""
    parts = fold_means(finished)
    if not spec.is_joint:
        return tuple(_sign(spec) * part[0] for part in parts)
    if reference is None:
        return ()
    return tuple(surrogate(seen_gains(spec, part, reference), spec.choice) for part in parts)


def _sign(spec: SearchSpec) -> float:
    return 1.0 if metric_of(spec.task)[1] == "max" else -1.0
