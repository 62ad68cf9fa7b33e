"""Is a gain more than the luck of the examples? Paired bootstrap over examples, and the jackknife; vectorised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jobs.errors import Fault, InputError
from jobs.scoring.metrics import Metric, Statistics

# Resampling weights held in memory at a time: portions of resamples are sized to this many numbers.
_PORTION = 2_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A gain, positive when `a` is better: the observed one, its 95 % interval, and a two-sided p-value."""

    gain: float
    low: float
    high: float
    p: float


def paired_bootstrap(
    a: Statistics | Sequence[Statistics],
    b: Statistics | Sequence[Statistics],
    metric: Metric,
    better: Literal["max", "min"] = "max",
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """The gain of system `a` over `b` on the same examples (Koehn 2004, "Statistical Significance Tests for MT").

    `a`, `b`: statistics [examples, k] of one seed, or [seeds, examples, k]; the gain is the mean over seeds.
    Each resample draws the examples with replacement, the same ones for both systems and all seeds. So the interval
    tells of the test set's size, not of the training seeds. Raises InputError when the shapes differ.
    """
    left, right = _three_dimensional(a, b)
    sign = 1.0 if better == "max" else -1.0
    gain = sign * float(np.mean(metric(left.sum(axis=1)) - metric(right.sum(axis=1))))
    gains = sign * _resampled(left, right, metric, resamples, np.random.default_rng(seed))
    low, high = np.quantile(gains, [0.025, 0.975])
    tail = min(np.count_nonzero(gains <= 0), np.count_nonzero(gains >= 0))
    return Interval(gain, float(low), float(high), min(1.0, 2 * (tail + 1) / (resamples + 1)))


def _resampled(a: Statistics, b: Statistics, metric: Metric, resamples: int, rng: np.random.Generator) -> Statistics:
    """[resamples]: the mean over seeds of metric(a) - metric(b)."""
    seeds, examples, columns = a.shape
    flat_a, flat_b = (part.transpose(1, 0, 2).reshape(examples, seeds * columns) for part in (a, b))
    portion = max(1, _PORTION // examples)
    gains = []
    for start in range(0, resamples, portion):
        size = min(portion, resamples - start)
        # Counts of a draw with replacement, one row per resample.
        counts = rng.multinomial(examples, np.full(examples, 1 / examples), size=size).astype(np.float64)
        sums_a, sums_b = ((counts @ flat).reshape(size, seeds, columns) for flat in (flat_a, flat_b))
        gains.append((metric(sums_a) - metric(sums_b)).mean(axis=1))
    return np.concatenate(gains)


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
