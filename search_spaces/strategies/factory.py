"""One visible table: a search's settings -> its strategy."""

from __future__ import annotations

from collections.abc import Callable

from jobs.spec import SearchSpace, StrategyName, StrategySpec
from search_spaces.strategies.coarse_to_fine import CoarseToFine
from search_spaces.strategies.greedy import Greedy
from search_spaces.strategies.grid import Grid
from search_spaces.strategies.halving import Halving
from search_spaces.strategies.strategy import Strategy
from search_spaces.strategies.warm_starts import WithStarts, placed


def make_strategy(space: SearchSpace, spec: StrategySpec) -> Strategy:
    """The strategy that `spec` names, its `starts` tried first."""
    return WithStarts([placed(space, mixture) for mixture in spec.starts], _maker(spec.name)(space, spec))


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
