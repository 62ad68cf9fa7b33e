"""Every candidate of the space, in its order: the papers' search."""

from __future__ import annotations

from jobs.spec import SearchSpace, StrategySpec
from search_spaces.mixtures.spaces import candidates
from search_spaces.strategies.strategy import Observation, Trial


class Grid:
    """Learns nothing from scores, so that all of them may be computed at once."""

    def __init__(self, space: SearchSpace, spec: StrategySpec) -> None:
        """`spec` says nothing that a grid needs."""
        self._left = candidates(space)

    def ask(self) -> Trial | None:
        """The next candidate."""
        candidate = next(self._left, None)
        return None if candidate is None else Trial(candidate)

    def tell(self, observation: Observation) -> None:
        """Nothing to learn."""
