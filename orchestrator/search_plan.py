"""What a campaign's search section means for its targets: the space, the strategy, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from jobs.errors import Fault
from jobs.spec import GRID, LineSpace, MixtureSpace, RuleSpace, SearchSpace, SimplexSpace, StrategySpec, SubsetSpace
from orchestrator.campaign.search import SearchSection
from orchestrator.search_starts import plain_mean, starts_of
from search_spaces.mixtures.candidates import lambda_grid
from search_spaces.mixtures.checks import space_faults, strategy_faults
from search_spaces.mixtures.spaces import keys_of, size


def planned_space(section: SearchSection, pairs: Sequence[tuple[str, str]]) -> SearchSpace:
    """The section's space over the languages of `pairs`; without one, lambdas of each pair."""
    wanted, keys = section.space, tuple(dict.fromkeys(key for pair in pairs for key in pair))
    if wanted is None:
        return MixtureSpace(tuple(pairs), lambda_grid(section.lambda_step))
    weights: SimplexSpace | SubsetSpace
    if wanted.kind == "simplex":
        weights = SimplexSpace(keys, wanted.step)
    else:
        weights = SubsetSpace(keys, min(wanted.largest, len(keys)), wanted.smallest, (), wanted.step)
    if wanted.rule == "task_arithmetic":
        return weights
    return RuleSpace(weights, wanted.rule, tuple(sorted(wanted.options.items())))


def planned_strategy(section: SearchSection, space: SearchSpace, targets: Sequence[str]) -> StrategySpec:
    """The section's strategy with its starts; a grid has none, and one candidate needs no search."""
    if section.strategy == "grid" or (isinstance(space, LineSpace) and size(space) == 1):
        return GRID if not section.minutes else StrategySpec(minutes=section.minutes)
    return StrategySpec(
        name=section.strategy,
        evaluations=section.evaluations,
        minutes=section.minutes,
        starts=tuple(dict.fromkeys(starts_of(section, space, targets))),
        finalists=section.finalists,
        ahead=section.ahead,
        seed=section.seed,
    )


def joint_strategy(section: SearchSection, space: SearchSpace, targets: Sequence[str]) -> StrategySpec:
    """The same for a joint search: whatever the strategy, the plain mean of all adapters is its first start."""
    planned = planned_strategy(section, space, targets)
    return replace(planned, starts=tuple(dict.fromkeys((plain_mean(keys_of(space)), *planned.starts))))


def search_faults(section: SearchSection, space: SearchSpace, strategy: StrategySpec, target: str) -> Iterator[Fault]:
    """What makes the search impossible; nothing for the default grid, which cannot be wrong."""
    if section.space is None and strategy == GRID and not section.evaluations:
        return
    where = f"search, target {target}"
    wrong = list(space_faults(space, keys_of(space), where))
    yield from wrong
    if not wrong:  # an impossible space has no size to compare a budget with
        yield from strategy_faults(space, replace(strategy, evaluations=section.evaluations), where)
