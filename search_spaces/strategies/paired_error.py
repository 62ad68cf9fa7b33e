"""Differences between candidates that were scored on the same examples."""

from __future__ import annotations

import math
from collections.abc import Sequence

from search_spaces.strategies.strategy import Observation

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
