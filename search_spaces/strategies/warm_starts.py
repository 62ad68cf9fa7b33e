"""Mixtures that cost no search, tried before the strategy proposes its own."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.spec import Mixture, SearchSpace
from search_spaces.mixtures.axes import candidate_at, point_of
from search_spaces.mixtures.candidates import Candidate
from search_spaces.strategies.strategy import Observation, Strategy, Trial


class WithStarts:
    """The starts in their order, then what `strategy` asks for; it is told of all of them."""

    def __init__(self, starts: Sequence[Candidate], strategy: Strategy) -> None:
        """`starts` need not lie on the space's grid."""
        self._starts = list(starts)
        self._strategy = strategy

    def ask(self) -> Trial | None:
        """A start, or the strategy's next trial."""
        return Trial(self._starts.pop(0)) if self._starts else self._strategy.ask()

    def tell(self, observation: Observation) -> None:
        """Pass it on."""
        self._strategy.tell(observation)


def placed(space: SearchSpace, mixture: Mixture) -> Candidate:
    """The space's own candidate of a mixture, which knows its line and lambda; else the mixture as it is."""
    point = point_of(space, mixture)
    own = candidate_at(space, point) if point is not None else None
    return own if own is not None and own.mixture == mixture else Candidate(mixture)
