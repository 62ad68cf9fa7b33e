"""A search's settings -> its strategy: one visible table, and the two that need no file of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jobs.spec import LineSpace, Mixture, MixtureSpace, SearchSpace, StrategyName, StrategySpec
from search_spaces.mixtures.axes import candidate_at, point_of
from search_spaces.mixtures.candidates import Candidate
from search_spaces.mixtures.spaces import candidates
from search_spaces.strategies.by_parts import ByParts
from search_spaces.strategies.coarse_to_fine import CoarseToFine
from search_spaces.strategies.greedy import Greedy
from search_spaces.strategies.halving import Halving
from search_spaces.strategies.strategy import Observation, Strategy, Trial


def make_strategy(space: SearchSpace, spec: StrategySpec, parts: Sequence[str] = ()) -> Strategy:
    """The strategy that `spec` names, its `starts` tried first; then, of lines of lambda, one lambda for each part."""
    single = WithStarts([placed(space, mixture) for mixture in spec.starts], _maker(spec.name)(space, spec))
    if not parts:
        return single
    assert isinstance(space, MixtureSpace | LineSpace), "parts have lambdas, of lines"
    return ByParts(space, parts, single)


def _maker(name: StrategyName) -> Callable[[SearchSpace, StrategySpec], Strategy]:
    # Imported one by one: a grid needs neither Optuna nor cmaes.
    match name:
        case "grid":
            return Grid
        case "coarse":
            return CoarseToFine
        case "greedy":
            return Greedy
        case "halving":
            return Halving
        case "cma":
            from search_spaces.strategies.cma_es import CmaEs

            return CmaEs
        case "tpe" | "gp":
            from search_spaces.strategies.optuna_samplers import OptunaSampler

            return OptunaSampler


class Grid:
    """Every candidate in the space's order, as the papers search; all scores may be computed at once."""

    def __init__(self, space: SearchSpace, spec: StrategySpec) -> None:
        """`spec` says nothing that a grid needs."""
        self._left = candidates(space)

    def ask(self) -> Trial | None:
        """The next candidate."""
        candidate = next(self._left, None)
        return None if candidate is None else Trial(candidate)

    def tell(self, observation: Observation) -> None:
        """Nothing to learn."""


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
