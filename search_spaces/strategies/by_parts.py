"""Weights by part: one lambda as any strategy searches it, then one for each part, from the best on."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.spec import LineSpace, Mixture, MixtureSpace
from search_spaces.mixtures.candidates import Candidate, parted_candidate
from search_spaces.strategies.strategy import Observation, Strategy, Trial

Places = tuple[int, ...]


class ByParts:
    """What `single` proposes; when it has nothing more to ask, a pattern search over the parts (Hooke and Jeeves 1961).

    Its centre is the best candidate with one lambda, and its lattice the space's lambdas. A round moves each part alone
    by a stride to both sides; the best of a round becomes the centre if it is better, else the stride is halved, from a
    quarter of the lambdas down to one. What belongs to no part keeps the single lambda.
    """

    def __init__(self, space: MixtureSpace | LineSpace, parts: Sequence[str], single: Strategy) -> None:
        """`single` searches the same space."""
        self._space, self._parts, self._single = space, tuple(parts), single
        self._lambdas = tuple(sorted(space.lambdas))
        self._values: dict[Mixture, float] = {}
        self._alone: dict[Candidate, float] = {}  # on a line, with one lambda
        self._waiting = 0
        self._queue: list[Places] = []
        self._round: list[Places] = []
        self._origin: Candidate | None = None
        self._centre: Places = ()
        self._stride = 0

    def ask(self) -> Trial | None:
        """The single strategy's next trial, then the next neighbour; None until a round's scores are there."""
        if self._origin is None:
            trial = self._single.ask()
            if trial is not None:
                self._waiting += 1
                return trial
            if self._waiting or not self._alone:
                return None
            self._begin()
        while True:
            while self._queue:
                candidate = self._candidate(self._queue.pop(0))
                if candidate.mixture not in self._values:
                    self._waiting += 1
                    return Trial(candidate)
            if self._waiting or not self._next_round():
                return None

    def tell(self, observation: Observation) -> None:
        """Note a score; those of the single strategy's trials are its own to learn from."""
        candidate = observation.trial.candidate
        self._waiting -= 1
        self._values[candidate.mixture] = observation.value
        if self._origin is None:
            self._single.tell(observation)
            if candidate.lambda_ is not None:
                self._alone[candidate] = observation.value

    def _begin(self) -> None:
        self._origin = max(self._alone, key=lambda one: (self._alone[one], -abs((one.lambda_ or 0.0) - 0.5)))
        start = self._origin.lambda_ or 0.0
        at = min(range(len(self._lambdas)), key=lambda place: abs(self._lambdas[place] - start))
        self._centre = (at,) * len(self._parts)
        self._stride = max(1, len(self._lambdas) // 4)
        self._neighbours()

    def _next_round(self) -> bool:
        """Whether there is another round; every neighbour of this one is scored."""
        best = max(self._round, key=self._value, default=self._centre)
        if self._value(best) > self._value(self._centre):
            self._centre = best
        else:
            self._stride //= 2
        if not self._stride:
            return False
        self._neighbours()
        return True

    def _neighbours(self) -> None:
        last, found = len(self._lambdas) - 1, []
        for part, place in enumerate(self._centre):
            for moved in (max(place - self._stride, 0), min(place + self._stride, last)):
                if moved != place:
                    found.append((*self._centre[:part], moved, *self._centre[part + 1 :]))
        self._round, self._queue = found, list(found)

    def _value(self, places: Places) -> float:
        return self._values[self._candidate(places).mixture]

    def _candidate(self, places: Places) -> Candidate:
        assert self._origin is not None
        by_part = {part: self._lambdas[place] for part, place in zip(self._parts, places, strict=True)}
        return parted_candidate(self._space, self._origin, by_part)
