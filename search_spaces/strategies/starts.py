"""Mixtures that cost no search, tried before the strategy proposes its own."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.spec import Mixture
from search_spaces.strategies.strategy import Observation, Strategy, Trial
from search_spaces.weights import Candidate


class WithStarts:
    """The starts in their order, then what `strategy` asks for; it is told of all of them."""

    def __init__(self, starts: Sequence[Mixture], strategy: Strategy) -> None:
        """`starts` need not lie on the space's grid."""
        self._starts = [Candidate(mixture) for mixture in starts]
        self._strategy = strategy

    def ask(self) -> Trial | None:
        """A start, or the strategy's next trial."""
        return Trial(self._starts.pop(0)) if self._starts else self._strategy.ask()

    def tell(self, observation: Observation) -> None:
        """Pass it on."""
        self._strategy.tell(observation)
