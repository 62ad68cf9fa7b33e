"""What a campaign's search section means for its targets: the space, the strategy, and what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from jobs.errors import Fault, InputError
from jobs.spec import (
    GRID,
    PARTED,
    AdapterConfig,
    BottleneckConfig,
    EvaluationSpec,
    LineSpace,
    Mixture,
    MixtureSpace,
    Option,
    PrefixConfig,
    RuleSpace,
    SearchSpace,
    SearchSpec,
    SimplexSpace,
    Spec,
    StrategySpec,
    SubsetSpace,
)
from orchestrator.campaign.schema import SearchSection
from orchestrator.store.step import Step
from search_spaces.mixtures.candidates import lambda_grid, line_candidate
from search_spaces.mixtures.checks import space_faults, strategy_faults
from search_spaces.mixtures.spaces import keys_of, size
from search_spaces.relatedness.ranking import typology_weights

MIDDLE = 0.5
# Rules that take any weights; the others have starts of equal weights alone, and slerp those of two adapters.
_WEIGHING = ("task_arithmetic", "linear", "dare", "dare_ties")


def unknown_start(steps: Iterable[Step], adapter: AdapterConfig) -> Iterator[Fault]:
    """Searches and evaluations whose rule needs theta_pre of adapters that others trained, which no one knows.

    Of LoRA, LoKr and (IA)3 it is the same for all: an update of nothing.
    """
    for step in steps:
        taken = [role for role, one in step.inputs if one.job == "foreign-adapter" and not role.startswith("task")]
        if taken and isinstance(adapter, BottleneckConfig | PrefixConfig) and _needs_start(step.spec, step.inputs):
            todo = "take a rule of weights that sum to one, from which it drops out, or adapters trained here"
            what = "the rule needs theta_pre, which is not known of adapters that others trained"
            yield Fault(what, f"{step.job} {step.name}", taken[0], todo)


def _needs_start(spec: Spec, inputs: Iterable[tuple[str, Step]]) -> bool:
    if isinstance(spec, EvaluationSpec):
        has_base = any(role == "theta_pre" for role, _ in inputs)
        return has_base and abs(math.fsum(weight for _, weight in spec.weights) - 1.0) > 1e-9
    if not isinstance(spec, SearchSpec):
        return False
    space = spec.space
    if isinstance(space, LineSpace | RuleSpace) and space.method in ("ties", "dare", "dare_ties"):
        return True
    if not isinstance(space, LineSpace) or space.method != "task_arithmetic":
        return False
    sums = ((math.fsum(c for _, c, _ in line) - 1.0, math.fsum(s for *_, s in line)) for line in space.lines)
    return any(abs(value) > 1e-9 for pair in sums for value in pair)


def starts_of(section: SearchSection, space: SearchSpace, targets: Sequence[str]) -> Iterator[Mixture]:
    """Mixtures by the section's names, for a search for `targets`. They need not lie on the space's grid."""
    for name in section.starts:
        if name == "equal":
            yield from _equal(space)
        elif name == "alone" and section.strategy != "greedy":  # whose first round they are
            yield from _alone(space)
        elif name == "typology":
            yield from _typology(space, targets)


def plain_mean(keys: Sequence[str]) -> Mixture:
    """All adapters with equal weights that sum to one."""
    return Mixture(tuple((key, 1.0 / len(keys)) for key in keys))


def _equal(space: SearchSpace) -> Iterator[Mixture]:
    """The middle of every line; elsewhere all adapters alike, by the space's rule with the middle of its options."""
    match space:
        case MixtureSpace():
            yield from (Mixture(((a, MIDDLE), (b, MIDDLE))) for a, b in space.pairs)
        case LineSpace():
            middle = sorted(space.lambdas)[len(space.lambdas) // 2]
            yield from (line_candidate(space, line, middle).mixture for line in space.lines)
        case RuleSpace():
            for mixture in _equal(space.weights):
                if space.method in (*_WEIGHING, "ties") or (space.method == "slerp" and len(mixture.weights) == 2):
                    yield Mixture(mixture.weights, space.method, _middle_options(space))
        case _:
            yield plain_mean(keys_of(space))


def _alone(space: SearchSpace) -> Iterator[Mixture]:
    """Every adapter as it was trained: the ends of lines that are one; elsewhere each key, whatever the rule."""
    if not isinstance(space, LineSpace):
        yield from (Mixture(((key, 1.0),)) for key in keys_of(space))
        return
    for line in space.lines:
        for end in (min(space.lambdas), max(space.lambdas)):
            mixture = line_candidate(space, line, end).mixture
            if [weight for _, weight in mixture.weights if weight] == [1.0]:
                yield mixture


def _typology(space: SearchSpace, targets: Sequence[str]) -> Iterator[Mixture]:
    """TIPA's weights of each target; none where no distance is known, on lines, and by rules that weigh alike."""
    rule = space.method if isinstance(space, RuleSpace) else "task_arithmetic"
    if isinstance(space, LineSpace) or rule not in _WEIGHING:
        return
    options = _middle_options(space) if isinstance(space, RuleSpace) else ()
    for target in targets:
        try:
            weights = typology_weights(target, [key for key in keys_of(space) if key != target], "syntactic")
        except InputError:
            continue
        if weights:
            yield Mixture(tuple(weights.items()), rule, options)


def _middle_options(space: RuleSpace) -> tuple[Option, ...]:
    return tuple((name, values[len(values) // 2]) for name, values in space.options if values)


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


def has_parts(space: SearchSpace) -> bool:
    """Whether lambdas of the space may differ from part to part of the adapters: those of sums."""
    if isinstance(space, LineSpace):
        return space.method in PARTED and not space.lambda_option and len(space.lambdas) > 1
    return isinstance(space, MixtureSpace)


def search_faults(section: SearchSection, space: SearchSpace, strategy: StrategySpec, target: str) -> Iterator[Fault]:
    """What makes the search impossible; nothing for the default grid, which cannot be wrong."""
    if section.space is None and strategy == GRID and not section.evaluations:
        return
    where = f"search, target {target}"
    wrong = list(space_faults(space, keys_of(space), where))
    yield from wrong
    if not wrong:  # an impossible space has no size to compare a budget with
        yield from strategy_faults(space, replace(strategy, evaluations=section.evaluations), where)
