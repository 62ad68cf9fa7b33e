"""An untried candidate near a point: what a model gets that proposes the same candidate again."""

from __future__ import annotations

import random
from collections.abc import Collection

from jobs.spec import SearchSpace
from search_spaces.mixtures.axes import Axis, Point, axes, candidate_at
from search_spaces.mixtures.candidates import Candidate

TRIES = 40


class Nearby:
    """Moves a point by ever wider random steps until it stands for another candidate."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        """`seed` fixes the steps."""
        self._space, self._axes = space, axes(space)
        self._random = random.Random(seed)

    def untried(self, point: Point, tried: Collection[Candidate]) -> Candidate:
        """A candidate that is not among `tried`; after `TRIES` steps one that may be."""
        candidate = candidate_at(self._space, point)
        for number in range(1, TRIES + 1):
            moved = {axis.name: self._moved(axis, point[axis.name], number / TRIES) for axis in self._axes}
            candidate = candidate_at(self._space, moved)
            if candidate not in tried:
                break
        return candidate

    def _moved(self, axis: Axis, value: float, width: float) -> float:
        if axis.unordered:
            return (
                float(self._random.randint(int(axis.low), int(axis.high))) if self._random.random() < width else value
            )
        moved = min(max(value + self._random.gauss(0.0, width) * (axis.high - axis.low), axis.low), axis.high)
        return float(round(moved)) if axis.whole else moved
