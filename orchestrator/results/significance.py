"""Many comparisons at once: how many draws they need, and Holm's correction over a campaign's family."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.scoring.bootstrap import RESAMPLES, smallest_p
from orchestrator.results.searches import Gain

ALPHA = 0.05
# With so many for each comparison, gains that no draw reaches are all left by Holm's correction at ALPHA.
_FOR_EACH = 40


def resamples_for(comparisons: int) -> int:
    """Draws behind every interval and p-value of a campaign."""
    return max(RESAMPLES, _FOR_EACH * comparisons)


@dataclass(frozen=True, slots=True)
class Family:
    """The p-values that are corrected together: one a comparison, of the gain that decides it.

    `adjusted`: in the order of the gains, nan where one has no p-value. `size`: how many have one. `floor`: the
    smallest p-value that the draws can give.
    """

    adjusted: tuple[float, ...]
    size: int
    floor: float
    wins: int
    at_floor: int


def family(gains: Sequence[Gain], comparisons: int) -> Family:
    """Correct the deciding gains of a campaign's comparisons. `comparisons`: all of them, finished or not."""
    known = [at for at, gain in enumerate(gains) if not math.isnan(gain.p)]
    adjusted = [math.nan] * len(gains)
    for at, value in zip(known, holm([gains[at].p for at in known]), strict=True):
        adjusted[at] = value
    floor = smallest_p(resamples_for(comparisons))
    wins = sum(gains[at].value > 0 and adjusted[at] < ALPHA for at in known)
    return Family(tuple(adjusted), len(known), floor, wins, sum(gains[at].p <= floor for at in known))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values that bound the chance of any false win (Holm 1979, step-down), in the given order.

    The i-th smallest of n is multiplied by n - i + 1; none is below a smaller one's, none above 1.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, p_values[i] * (len(p_values) - place)))
        adjusted[i] = highest
    return tuple(adjusted)
