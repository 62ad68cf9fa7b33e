"""Made-up test sets of two systems whose true gain is known: paired, correlated, with seeds or contexts where asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from jobs.scoring.metrics import Metric, Statistics, f1, metric_over

Pair = tuple[list[Statistics], list[Statistics], tuple[str, ...]]
ACCURACY = metric_over("accuracy", ("examples", "accuracy"))
ANSWER_F1 = metric_over("f1", ("examples", "f1"))
_POPULATION = 1_000_000


@dataclass(frozen=True, slots=True)
class World:
    """`draw(rng, units)`: statistics of both systems, a list over seeds each, and the groups of the examples."""

    metric: Metric
    draw: Callable[[np.random.Generator, int], Pair]

    def true_gain(self) -> float:
        """The gain on a million units of one draw: within 0.1 points of that of all examples."""
        a, b, _ = self.draw(np.random.default_rng(99), _POPULATION)
        return float(
            np.mean([self.metric(x.sum(axis=0)) - self.metric(y.sum(axis=0)) for x, y in zip(a, b, strict=True)])
        )


def accuracy(ours: float, theirs: float, alike: float) -> World:
    """Right or wrong, where both systems lean on the same difficulty: `alike` is the correlation of what they feel."""

    def draw(rng: np.random.Generator, units: int) -> Pair:
        felt = _felt(rng, units, alike)
        a, b = (_points(100.0 * (own < norm.ppf(right))) for own, right in zip(felt, (ours, theirs), strict=True))
        return [a], [b], ()

    return World(ACCURACY, draw)


def spans(ours: tuple[float, float], theirs: tuple[float, float], alike: float) -> World:
    """Entities: F1 is a ratio of sums. A system: the share of entities that it finds, and of false ones a sentence."""

    def draw(rng: np.random.Generator, units: int) -> Pair:
        gold = rng.poisson(1.5, units)
        systems = []
        for own, (found, false) in zip(_felt(rng, units, alike), (ours, theirs), strict=True):
            hits = rng.binomial(gold, norm.cdf(norm.ppf(found) * np.sqrt(2) - own))
            extra = rng.poisson(false * np.exp(0.5 * own - 0.125))
            systems.append([np.stack([hits, extra, gold - hits], axis=1).astype(np.float64)])
        return systems[0], systems[1], ()

    return World(f1, draw)


def contexts(better: float, alike: float) -> World:
    """Questions on contexts, five or so each: what a system understands of a context counts for all its questions."""

    def draw(rng: np.random.Generator, units: int) -> Pair:
        place = np.repeat(np.arange(units), 1 + rng.poisson(4, units))
        question = rng.standard_normal(len(place))
        systems = []
        for own, ahead in zip(_felt(rng, units, alike), (better, 0.0), strict=True):
            felt = 0.8 * own[place] + 0.5 * question + 0.33 * rng.standard_normal(len(place))
            systems.append([_points(100 * np.clip(0.55 + ahead - 0.5 * felt, 0, 1))])
        return systems[0], systems[1], tuple(f"{number:07d}" for number in place) if units < _POPULATION else ()

    return World(ANSWER_F1, draw)


def seeded(better: float, seeds: int, spread: float, own_noise: float = 0.5) -> tuple[World, float]:
    """Right or wrong with `seeds` trainings of each system whose strength varies by `spread`; and the true gain.

    The true gain is that of all trainings on all examples, in closed form. `own_noise`: the part of what a system feels
    of an example that each training feels anew.
    """

    def draw(rng: np.random.Generator, units: int) -> Pair:
        hard = rng.standard_normal(units)
        systems = []
        for ahead in (better, 0.0):
            system = rng.standard_normal(units)
            strength = ahead + spread * rng.standard_normal(seeds)
            noise = rng.standard_normal((seeds, units))
            own = np.sqrt(0.4 * (1 - own_noise)) * system + np.sqrt(0.4 * own_noise) * noise
            systems.append([_points(100.0 * (row > 0)) for row in strength[:, None] + np.sqrt(0.6) * hard + own])
        return systems[0], systems[1], ()

    return World(ACCURACY, draw), 100 * (norm.cdf(better / np.sqrt(1 + spread**2)) - 0.5)


def _felt(rng: np.random.Generator, units: int, alike: float) -> NDArray[np.float64]:
    """[2, units]: the difficulty of each unit as both systems feel it."""
    return np.sqrt(alike) * rng.standard_normal(units) + np.sqrt(1 - alike) * rng.standard_normal((2, units))


def _points(points: NDArray[np.float64]) -> Statistics:
    return np.stack([np.ones(len(points)), points], axis=1)
