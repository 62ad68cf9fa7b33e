"""Coarse to fine: the middle and the quarters of every line, then ever nearer neighbours of the best."""

from __future__ import annotations

from itertools import product

from jobs.spec import LineSpace, MixtureSpace, RangeSpace, RuleSpace, SearchSpace, StrategySpec
from search_spaces.mixtures.axes import Axis, axes, candidate_at
from search_spaces.mixtures.candidates import Candidate
from search_spaces.mixtures.spaces import range_values
from search_spaces.strategies.strategy import Observation, Trial

Place = tuple[int, ...]


class CoarseToFine:
    """Pattern search on the places of a lattice (Hooke and Jeeves 1961), several starts, one centre.

    For spaces of lines and ranges with a step. First the middle of every line, then a quarter of the way to each end;
    then the neighbours of the best so far at a stride that is halved whenever none of them is better.
    """

    def __init__(self, space: SearchSpace, spec: StrategySpec) -> None:
        """`space`: lambdas of pairs or of one line, or ranges with a step, by one rule or several options."""
        self._space = space
        self._axes = axes(space)
        self._sizes = tuple(len(_values(space, axis)) for axis in self._axes)
        ordered = [size for axis, size in zip(self._axes, self._sizes, strict=True) if not axis.unordered]
        self._stride = max((max(1, size // 4) for size in ordered if size > 1), default=0)
        self._queue = self._first_places()
        self._asked: dict[Place, Candidate] = {}
        self._told: dict[Candidate, float] = {}
        self._centre: Place | None = None

    def ask(self) -> Trial | None:
        """The next place of this round; None until the round's scores are there."""
        while True:
            while self._queue:
                place = self._queue.pop(0)
                if place not in self._asked:
                    self._asked[place] = self._candidate(place)
                    return Trial(self._asked[place])
            if any(candidate not in self._told for candidate in self._asked.values()):
                return None
            if not self._next_round():
                return None

    def tell(self, observation: Observation) -> None:
        """Note a score."""
        self._told[observation.trial.candidate] = observation.value

    def _next_round(self) -> bool:
        best = max(self._asked, key=lambda place: (self._told[self._asked[place]], _middling(place, self._sizes)))
        if self._centre == best:
            self._stride //= 2
        if self._stride < 1:
            return False
        self._centre = best
        self._queue = self._shifted(best, self._stride)
        return True

    def _first_places(self) -> list[Place]:
        middles = [
            [size // 2] if not axis.unordered else range(size)
            for axis, size in zip(self._axes, self._sizes, strict=True)
        ]
        firsts = list(product(*middles))
        return [*firsts, *(near for first in firsts for near in self._shifted(first, self._stride))]

    def _shifted(self, place: Place, stride: int) -> list[Place]:
        found = []
        for number, (axis, size) in enumerate(zip(self._axes, self._sizes, strict=True)):
            if axis.unordered or size == 1:
                continue
            for way in (-1, 1):
                moved = min(max(place[number] + way * max(1, min(stride, size // 4)), 0), size - 1)
                found.append((*place[:number], moved, *place[number + 1 :]))
        return found

    def _candidate(self, place: Place) -> Candidate:
        values = {axis.name: _values(self._space, axis)[at] for axis, at in zip(self._axes, place, strict=True)}
        return candidate_at(self._space, values)


def _values(space: SearchSpace, axis: Axis) -> tuple[float, ...]:
    """The numbers of an axis in rising order."""
    weights = space.weights if isinstance(space, RuleSpace) else space
    if axis.whole:
        return tuple(float(place) for place in range(int(axis.high) + 1))
    if isinstance(weights, RangeSpace):
        return range_values(axis.low, axis.high, weights.step)
    assert not isinstance(weights, MixtureSpace | LineSpace)
    raise ValueError("coarse-to-fine searches lines and ranges; choose greedy, gp or cma for a simplex")


def _middling(place: Place, sizes: tuple[int, ...]) -> float:
    """Higher for places nearer the middle: no extreme is preferred to what scores the same."""
    return -sum(abs(at - (size - 1) / 2) for at, size in zip(place, sizes, strict=True))
