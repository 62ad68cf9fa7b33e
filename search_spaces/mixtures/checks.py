"""What is wrong with a space or a strategy, said before anything is computed; all of it at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from jobs.errors import Fault
from jobs.spec import (
    MOVING,
    LineSpace,
    MixtureSpace,
    RangeSpace,
    RuleSpace,
    SearchSpace,
    SimplexSpace,
    StrategySpec,
    SubsetSpace,
    WeightSpace,
)
from search_spaces.mixtures.spaces import keys_of, parts_of, size

# Rules whose weights mean something; TIES takes sets.
_EQUAL_WEIGHTS = ("ties",)
# The options of each rule, and those that say how low-rank adapters are merged by any.
_OPTIONS: dict[str, tuple[str, ...]] = {
    "ties": ("density", "lambda"),
    "dare": ("density", "seed"),
    "dare_ties": ("density", "seed", "lambda"),
}
_DROPPING = ("dare", "dare_ties")
_OF_ALL = ("space", "rank")
MOST = 1_000_000  # candidates of a grid


def space_faults(space: SearchSpace, known: Collection[str], where: str = "search.space") -> Iterator[Fault]:
    """Keys that are not among `known`, and whatever leaves the space without candidates."""
    for key in dict.fromkeys(keys_of(space)):
        if key not in known:
            yield Fault("the search weighs an adapter that nothing makes", where, key, f"known: {', '.join(known)}")
    yield from _empty(space, where)


def _empty(space: SearchSpace, where: str) -> Iterator[Fault]:
    match space:
        case MixtureSpace() | LineSpace():
            if not space.lambdas or not keys_of(space):
                yield Fault("the space holds no candidate", where, todo="give keys and lambdas")
        case SimplexSpace():
            if not space.simplex:
                yield Fault("the space holds no candidate", where, todo="name at least one language")
            yield from _step(space.step, 1, where)
        case SubsetSpace():
            yield from _subset(space, where)
        case RangeSpace():
            for key, low, high in space.ranges:
                if not low <= high:
                    yield Fault("the range holds no weight", f"{where}, {key}", f"{low:g} to {high:g}")
            if not any(low or high for _, low, high in space.ranges):
                yield Fault("the space holds no candidate", where, todo="give at least one range that is not zero")
        case RuleSpace():
            yield from _empty(space.weights, where)
            yield from _rule(space, where)


def _rule(space: RuleSpace, where: str) -> Iterator[Fault]:
    """Options and weights that the rule cannot take."""
    known = _OPTIONS.get(space.method, ())
    given = [name for name, _ in space.options]
    for name, values in space.options:
        if not values:
            yield Fault("the option has no value to try", where, name)
        if name not in (*known, *_OF_ALL):
            todo = f"known: {', '.join((*known, *_OF_ALL))}"
            yield Fault(f"{space.method} has no such option", where, name, todo)
        if name == "density" and not all(isinstance(value, float | int) and 0 < value <= 1 for value in values):
            got = ", ".join(map(str, values))
            yield Fault("a density is a share above 0 and up to 1", f"{where}, density", got)
    if space.method in _DROPPING and "density" not in given:
        yield Fault(f"{space.method} needs values of its option", where, "density", "e.g. density: [0.2, 0.5, 0.8]")
    equal = isinstance(space.weights, SubsetSpace) and not space.weights.step
    if space.method in _EQUAL_WEIGHTS and not equal:
        yield Fault(f"{space.method} does not weigh its sources", where, todo="search subsets without a step")
    if space.method == "slerp" and _most_members(space.weights) > 2:
        todo = "search subsets of at most 2, or a simplex of 2 languages"
        yield Fault("slerp lies between two adapters", where, f"up to {_most_members(space.weights)}", todo)
    if space.method == "layer_swapping":
        todo = "use a comparison of kind mixture with the method layer-swapping"
        yield Fault("layer_swapping takes one task adapter and one language adapter", where, todo=todo)
    if space.method in MOVING:
        todo = f"use a comparison of kind mixture with the method {space.method}"
        what = f"{space.method} moves one task adapter by two others; no weights of languages do"
        yield Fault(what, where, todo=todo)


def _most_members(space: WeightSpace) -> int:
    match space:
        case MixtureSpace():
            return 2
        case SubsetSpace():
            return len(space.always) + min(space.largest, len(space.pool))
        case SimplexSpace() | RangeSpace():
            return len(keys_of(space))


def _subset(space: SubsetSpace, where: str) -> Iterator[Fault]:
    twice = sorted({key for key in (*space.pool, *space.always) if (*space.pool, *space.always).count(key) > 1})
    if twice:
        yield Fault("a language is in the pool twice", where, ", ".join(twice))
    if not 0 <= space.smallest <= min(space.largest, len(space.pool)) or not (space.largest or space.always):
        got = f"sets of {space.smallest} to {space.largest} out of {len(space.pool)}"
        yield Fault("no subset is of that size", where, got, "widen the pool or the sizes")
    yield from _step(space.step, len(space.always) + min(space.largest, len(space.pool)), where)


def _step(step: float, members: int, where: str) -> Iterator[Fault]:
    if not step:
        return
    try:
        parts = parts_of(step)
    except ValueError:
        todo = "choose 0.5, 0.25, 0.2, 0.1, 0.05 or the like"
        yield Fault("weights in such steps cannot sum to one", f"{where}.step", f"{step:g}", todo)
        return
    if members > parts:
        got = f"{members} languages of at least {step:g} each"
        yield Fault("weights in such steps cannot reach the simplex", f"{where}.step", got, "a smaller step or set")


def strategy_faults(space: SearchSpace, strategy: StrategySpec, where: str = "search") -> Iterator[Fault]:
    """A budget that the strategy cannot keep within, and starts that are not mixtures of the space's keys."""
    count, budget = size(space), strategy.evaluations
    if count is None and strategy.name == "grid":
        yield Fault("a space without a step has no grid", where, todo="give a step or another strategy")
    if count is None and not (budget or strategy.minutes):
        yield Fault("an endless search", where, strategy.name, "give `evaluations` or `minutes`")
    if strategy.name == "grid" and count is not None:
        if count > MOST:
            yield Fault("the grid is too large to walk through", where, f"{count} candidates", "another strategy")
        elif budget and budget < count:
            todo = "raise the budget, or choose another strategy"
            yield Fault("the budget does not reach through the grid", where, f"{budget} of {count} candidates", todo)
    if budget and budget < len(strategy.starts):
        got = f"{budget} evaluations, {len(strategy.starts)} starts"
        yield Fault("the budget is smaller than the warm starts", f"{where}.evaluations", got, "raise it")
    weights = space.weights if isinstance(space, RuleSpace) else space
    if strategy.name == "coarse" and (count is None or isinstance(weights, SimplexSpace | SubsetSpace)):
        yield Fault("coarse-to-fine searches lines and ranges with a step", where, todo="try greedy, tpe or cma")
    if strategy.name == "greedy" and not isinstance(space, SimplexSpace | SubsetSpace):
        yield Fault("greedy selection chooses among languages", where, type(space).__name__, "search subsets")
    if strategy.name == "cma" and isinstance(space, LineSpace | MixtureSpace):
        yield Fault("CMA-ES needs more than one dimension", where, todo="try coarse, tpe or gp for lambda")
    for start in strategy.starts:
        unknown = [key for key, _ in start.weights if key not in keys_of(space)]
        if unknown:
            yield Fault("a start weighs what is not in the space", where, ", ".join(unknown))
