"""CMA-ES (Hansen 2016), by the package cmaes."""

from __future__ import annotations

import math

import cmaes
import numpy as np

from jobs.spec import SearchSpace, StrategySpec
from search_spaces.mixtures.axes import axes, candidate_at, point_of
from search_spaces.mixtures.candidates import Candidate
from search_spaces.strategies.strategy import Observation, Trial

WIDTH = 0.3  # of the first draws, in units of an axis
RETRIES = 20  # draws that stand for candidates tried before, after which one is tried again


class CmaEs:
    """A normal distribution over the axes, moved towards the best half of every population's worth of scores.

    It starts at the best start that is told before its first draw, else in the middle. Draws are taken from the
    distribution as it stands, so that no trial waits for the end of a generation.
    """

    def __init__(self, space: SearchSpace, spec: StrategySpec) -> None:
        """`spec.seed` fixes every draw."""
        self._space, self._axes, self._seed = space, axes(space), spec.seed
        self._strategy: cmaes.CMA | None = None
        self._open: dict[Candidate, list[np.ndarray]] = {}
        self._generation: list[tuple[np.ndarray, float]] = []
        self._seen: set[Candidate] = set()
        self._best: tuple[float, dict[str, float]] = (-math.inf, {})

    def ask(self) -> Trial | None:
        """A draw from the distribution."""
        if self._strategy is None:
            bounds = np.array([[0.0, 1.0]] * len(self._axes))
            self._strategy = cmaes.CMA(self._first(), WIDTH, bounds=bounds, seed=self._seed)
        place = self._strategy.ask()
        candidate = candidate_at(self._space, self._point(place))
        for _ in range(RETRIES):
            if candidate not in self._seen:
                break
            place = self._strategy.ask()
            candidate = candidate_at(self._space, self._point(place))
        self._seen.add(candidate)
        self._open.setdefault(candidate, []).append(place)
        return Trial(candidate)

    def tell(self, observation: Observation) -> None:
        """Collect a score; a full population moves the distribution."""
        candidate = observation.trial.candidate
        if self._open.get(candidate):
            self._generation.append((self._open[candidate].pop(0), -observation.value))
        elif observation.value > self._best[0]:
            point = point_of(self._space, candidate.mixture)
            self._best = (observation.value, point) if point is not None else self._best
        if self._strategy is not None and len(self._generation) >= self._strategy.population_size:
            count = self._strategy.population_size
            now, self._generation = self._generation[:count], self._generation[count:]
            self._strategy.tell(now)

    def _point(self, place: np.ndarray) -> dict[str, float]:
        values = {}
        for axis, at in zip(self._axes, place.tolist(), strict=True):
            value = axis.low + at * (axis.high - axis.low)
            values[axis.name] = float(round(value)) if axis.whole else value
        return values

    def _first(self) -> np.ndarray:
        point = self._best[1]
        if not point:
            return np.full(len(self._axes), 0.5)
        widths = [(axis, axis.high - axis.low or 1.0) for axis in self._axes]
        return np.array([(point[axis.name] - axis.low) / width for axis, width in widths])
