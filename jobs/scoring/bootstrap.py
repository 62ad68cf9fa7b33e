"""Is a gain more than luck? Intervals by the paired bootstrap, p-values by trading places, and the jackknife.

What each of them means, and how well they keep what they promise, is in docs/statistics.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from jobs.errors import Fault, InputError
from jobs.scoring.metrics import Metric, Statistics
from jobs.scoring.resampling import draws

RESAMPLES = 10_000
_UPPER = 0.975  # of a 95 % interval


@dataclass(frozen=True, slots=True)
class Interval:
    """A gain, positive when `a` is better, and what is known of it.

    `low`, `high`: 95 % interval over test examples; nan where it cannot be known: one unit alone, units that all differ
    alike, none that differs. `seeds_low`, `seeds_high`: over training seeds too; nan with one seed. `p`: two-sided,
    that the systems are alike. `units`: what was drawn, examples or groups of them; `differing`: on how many of them
    the systems' statistics differ.
    """

    gain: float
    low: float
    high: float
    p: float
    units: int
    differing: int
    seeds_low: float = math.nan
    seeds_high: float = math.nan


def paired_bootstrap(
    a: Statistics | Sequence[Statistics],
    b: Statistics | Sequence[Statistics],
    metric: Metric,
    better: Literal["max", "min"] = "max",
    groups: Sequence[str] = (),
    resamples: int = RESAMPLES,
) -> Interval:
    """The gain of system `a` over `b` on the same examples.

    `a`, `b`: statistics [examples, k] of one seed, or [seeds, examples, k]; the gain is the mean over seeds. `groups`:
    the group of each example, () where every example is a unit of its own; whole groups are drawn.

    Interval: gain ± t(units - 1) x standard error, the latter from units drawn with replacement, the same ones for
    both systems and all seeds (Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation"), times
    sqrt(units / (units - 1)) (Hesterberg 2015, "What Teachers Should Know About the Bootstrap") and, after Agresti and
    Min 2005 ("Simple Improved Confidence Intervals for Comparing Matched Proportions"), by one more differing unit than
    there are, sqrt((differing + 1) / differing). p: the share of random trades of the systems' results, unit by unit,
    that give as large a difference (Noreen 1989; Yeh 2000, arXiv cs/0008005), the observed one counted in. Raises
    InputError when the shapes differ.
    """
    left, right = (_grouped(part, groups) for part in _three_dimensional(a, b))
    of_seeds = (1.0 if better == "max" else -1.0) * (metric(left.sum(axis=1)) - metric(right.sum(axis=1)))
    gain, units = float(of_seeds.mean()), left.shape[1]
    p = _chance(left, right, metric, resamples)
    differing = int(np.count_nonzero((left != right).any(axis=(0, 2))))
    scale = units / (units - 1) * (differing + 1) / differing if units > 1 and differing else math.nan
    half, both = _halves(left, right, metric, of_seeds, resamples, scale)
    return Interval(gain, gain - half, gain + half, p, units, differing, gain - both, gain + both)


def _halves(
    a: Statistics, b: Statistics, metric: Metric, of_seeds: Statistics, resamples: int, scale: float
) -> tuple[float, float]:
    """Half the width of the interval over examples, and of that over seeds too; nan where `scale` is."""
    if math.isnan(scale):
        return math.nan, math.nan
    gains = _resampled(a, b, metric, resamples)
    examples, units = scale * float(gains.mean(axis=1).var()), a.shape[1]
    if examples <= 1e-18 * float(np.square(of_seeds).mean()):
        return math.nan, math.nan  # every unit differs alike, which says nothing of others
    both = math.nan
    if len(of_seeds) > 1:
        both = _half_over_seeds(of_seeds, scale * gains.var(axis=0), examples, units)
    return _t(units) * math.sqrt(examples), both


def smallest_p(resamples: int) -> float:
    """The p-value of a difference that no trade of places reaches."""
    return 1 / (resamples + 1)


def _chance(a: Statistics, b: Statistics, metric: Metric, resamples: int) -> float:
    """Two-sided p-value: how often a random trade of places, the same in all seeds, gives as large a difference."""
    seeds, units, columns = a.shape
    whole_a, whole_b = a.sum(axis=1), b.sum(axis=1)
    observed = abs(float((metric(whole_a) - metric(whole_b)).mean()))
    differences = _flat(b - a)
    reached = 0
    for swaps in draws("swaps", units, resamples):
        moved = (swaps.astype(np.float64) @ differences).reshape(len(swaps), seeds, columns)
        found = (metric(whole_a + moved) - metric(whole_b - moved)).mean(axis=1)
        reached += int(np.count_nonzero(np.abs(found) >= observed - 1e-9 * max(1.0, observed)))
    return (reached + 1) / (resamples + 1)


def _resampled(a: Statistics, b: Statistics, metric: Metric, resamples: int) -> Statistics:
    """[resamples, seeds]: metric(a) - metric(b) of each draw."""
    seeds, units, columns = a.shape
    both = np.concatenate([_flat(a), _flat(b)], axis=1)
    gains = []
    for counts in draws("counts", units, resamples):
        sums = (counts.astype(np.float64) @ both).reshape(len(counts), 2, seeds, columns)
        gains.append(metric(sums[:, 0]) - metric(sums[:, 1]))
    return np.concatenate(gains)


def _half_over_seeds(of_seeds: Statistics, variances: Statistics, examples: float, units: int) -> float:
    """Half the width of the interval over seeds and examples, which cross: all seeds are scored on the same examples.

    `of_seeds`: the gain of each seed; `variances`: of each over draws of examples, `examples`: of their mean. Howe 1974
    ("Approximate Confidence Limits on the Mean of X + Y Where X and Y Are Two Tabled Independent Random Variables",
    JASA 69): the root of the sum of both halves squared, each with its own t. What seeds and examples share, their
    interaction, is in both variances and counts among the seeds' alone, whose few values t then answers for. Never less
    than over examples.
    """
    seeds = len(of_seeds)
    shared = (float(variances.mean()) - examples) / (seeds - 1)
    over_seeds, alone = float(of_seeds.var(ddof=1)) / seeds, max(0.0, examples - max(0.0, shared))
    both = math.hypot(_t(seeds) * math.sqrt(over_seeds), _t(units) * math.sqrt(alone))
    return max(both, _t(units) * math.sqrt(examples))


def _t(count: int) -> float:
    """Half a 95 % interval in standard errors, where the error is estimated from `count` values."""
    return float(stdtrit(count - 1, _UPPER))


def _flat(statistics: Statistics) -> Statistics:
    """[units, seeds * columns]."""
    seeds, units, columns = statistics.shape
    return statistics.transpose(1, 0, 2).reshape(units, seeds * columns)


def _grouped(statistics: Statistics, groups: Sequence[str]) -> Statistics:
    """[seeds, units, k]: sums over the examples of each group. Raises InputError unless every example has one."""
    if not groups:
        return statistics
    if len(groups) != statistics.shape[1]:
        got = f"{len(groups)} for {statistics.shape[1]} examples"
        raise InputError(Fault("not one group an example", got=got, todo="score the systems again"))
    order = np.argsort(np.asarray(groups), kind="stable")
    starts = np.unique(np.asarray(groups)[order], return_index=True)[1]
    sums: Statistics = np.add.reduceat(statistics[:, order], starts, axis=1)
    return sums


def _three_dimensional(a: Statistics | Sequence[Statistics], b: Statistics | Sequence[Statistics]) -> list[Statistics]:
    """Both as [seeds, examples, k] arrays of one shape, or InputError."""
    seeds = [[own] if isinstance(own, np.ndarray) and own.ndim == 2 else list(own) for own in (a, b)]
    shapes = [[np.shape(part) for part in own] for own in seeds]
    if shapes[0] != shapes[1] or len(set(shapes[0])) != 1 or 0 in shapes[0][0]:
        got, todo = f"{shapes[0]} and {shapes[1]}", "they need the same examples and seeds"
        raise InputError(Fault("the systems' statistics cannot be compared", got=got, todo=todo))
    return [np.stack(own).astype(np.float64) for own in seeds]


FOLDS = 20


def jackknife(statistics: Statistics, metric: Metric) -> tuple[float, ...]:
    """The metric without each of `FOLDS` consecutive parts of the examples; empty with fewer than two examples.

    `statistics`: [examples, columns], as a score has them.
    """
    count = min(FOLDS, len(statistics))
    if count < 2:
        return ()
    parts = np.array([part.sum(axis=0) for part in np.array_split(statistics, count)])
    return tuple(float(value) for value in metric(parts.sum(axis=0) - parts))
