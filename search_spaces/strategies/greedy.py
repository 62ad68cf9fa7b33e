"""Greedy forward selection of languages: the best one alone, then whichever addition helps most."""

from __future__ import annotations

from jobs.spec import Mixture, SearchSpace, SimplexSpace, StrategySpec, SubsetSpace
from search_spaces.mixtures.candidates import Candidate
from search_spaces.mixtures.spaces import keys_of, normalised, parts_of, rounded, weighted
from search_spaces.strategies.strategy import Observation, Trial


class Greedy:
    """Rounds of additions to the best mixture so far (Caruana et al. 2004, ensemble selection).

    The first round tries every language alone (with those that are always there). Each later round adds every
    language of the pool once, as one more member of equal say, to the best mixture so far; a language that is in it
    already gains weight where the space has a step. It ends when no addition helps. In later rounds languages come in
    the order of their scores so far, so that a small budget is spent on the promising ones.
    """

    def __init__(self, space: SearchSpace, spec: StrategySpec) -> None:
        """`space`: subsets or a simplex."""
        assert isinstance(space, SubsetSpace | SimplexSpace)
        self._space = space
        self._always = space.always if isinstance(space, SubsetSpace) else ()
        self._pool = tuple(key for key in keys_of(space) if key not in self._always)
        self._largest = space.largest if isinstance(space, SubsetSpace) else len(self._pool)
        self._counts: dict[Candidate, tuple[str, ...]] = {}
        self._values: dict[Candidate, float] = {}
        self._merit: dict[str, float] = {}
        self._centre: Candidate | None = None
        self._queue = [self._made((*self._always, key)) for key in self._pool] or [self._made(self._always)]
        self._waiting: set[Candidate] = set()

    def ask(self) -> Trial | None:
        """The next addition of this round; None until the round's scores are there."""
        while True:
            while self._queue:
                candidate = self._queue.pop(0)
                if candidate not in self._values:
                    self._waiting.add(candidate)
                    return Trial(candidate)
            if self._waiting or not self._next_round():
                return None

    def tell(self, observation: Observation) -> None:
        """Note a score, of a start too: a later round may build on it."""
        candidate = Candidate(observation.trial.candidate.mixture)
        self._waiting.discard(candidate)
        self._values[candidate] = observation.value
        for key, weight in candidate.mixture.weights:
            if key in self._pool and weight > 0:
                self._merit[key] = max(self._merit.get(key, observation.value), observation.value)

    def _next_round(self) -> bool:
        usable = [candidate for candidate in self._values if candidate in self._counts or self._adopt(candidate)]
        best = max(usable, key=lambda candidate: self._values[candidate])
        if best == self._centre:
            return False
        self._centre = best
        members = self._counts[best]
        by_merit = sorted(self._pool, key=lambda key: -self._merit.get(key, float("-inf")))
        self._queue = [self._made((*members, key)) for key in by_merit if self._may_join(key, members)]
        return True

    def _may_join(self, key: str, members: tuple[str, ...]) -> bool:
        if key in members:
            return bool(self._space.step) or isinstance(self._space, SimplexSpace)
        return len(set(members) - set(self._always)) < self._largest

    def _made(self, members: tuple[str, ...]) -> Candidate:
        """The mixture in which every member has equal say, on the space's grid."""
        keys = tuple(dict.fromkeys(members))
        shares = normalised([float(members.count(key)) for key in keys])
        step = self._space.step
        if step:
            parts = parts_of(step)
            least = 1 if isinstance(self._space, SubsetSpace) else 0
            shares = tuple(count / parts for count in rounded(shares, parts, least if len(keys) <= parts else 0))
        candidate = weighted(dict(zip(keys, shares, strict=True)))
        self._counts.setdefault(candidate, members)
        return candidate

    def _adopt(self, candidate: Candidate) -> bool:
        """Let a start be built upon, as members in proportion to its weights."""
        weights = dict(candidate.mixture.weights)
        if candidate.mixture != Mixture(candidate.mixture.weights) or not weights or min(weights.values()) <= 0:
            return False
        if not set(weights) <= set(keys_of(self._space)):
            return False
        least = min(weights.values())
        self._counts[candidate] = tuple(key for key, weight in weights.items() for _ in range(round(weight / least)))
        return True
