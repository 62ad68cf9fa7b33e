"""Steps of language arithmetic (arXiv 2404.15737): a search of lambda, what it finds merged, and the baselines."""

from __future__ import annotations

from functools import partial

from jobs.spec import GRID, MixtureSpace, SearchSpec
from orchestrator.campaign.comparisons import EnhancementSection, ZeroShotSection
from orchestrator.campaign.tasks import TaskSection
from orchestrator.plan.adapter_steps import AdapterSteps
from orchestrator.plan.comparisons import PlannedComparison, PlannedSystem, merged_system, merges_of, weighted_system
from orchestrator.plan.searches import planned_space
from orchestrator.store.step import Step, make_step
from search_spaces.relatedness.selection import Selection


def language_arithmetic(
    adapters: AdapterSteps,
    section: ZeroShotSection | EnhancementSection,
    target: str,
    task: TaskSection,
    related: Selection,
) -> PlannedComparison:
    """One target on one task: pairs of the task's language, the related ones and, to enhance it, the target's own.

    The baselines are the adapters alone, their mean, and no language adapter at all.
    """
    sources = [one.code for one in related.chosen]
    enhanced = isinstance(section, EnhancementSection)
    others = [target] if enhanced else sources
    pairs = [(task.language, other) for other in others if other != task.language]
    if enhanced:
        pairs += [(source, target) for source in sources]
    search = _search(adapters, target, task, tuple(pairs))
    merges = merges_of(adapters, search, target, task.name)
    weighted = partial(weighted_system, adapters, target, task)
    half = dict.fromkeys(pairs[0], 0.5)
    systems = (
        weighted(("no-adapter", "no language adapter", "bare"), {}),
        *(weighted((f"proxy:{code}", f"{code} adapter", "proxy"), {code: 1.0}) for code in (task.language, *sources)),
        *([weighted(("own", f"{target} adapter (MAD-X)", "own"), {target: 1.0})] if enhanced else []),
        weighted((f"fixed:{'+'.join(half)}", f"lambda 0.5 of {' and '.join(half)}", "fixed"), half),
        *(_of_pair(adapters, search, target, task, pair) for pair in _compared_pairs(search, enhanced)),
        merged_system(adapters, target, task, merges, "language arithmetic"),
    )
    return PlannedComparison(section, target, task.ref, related, search, merges, systems, task.language)


def _compared_pairs(search: Step, enhanced: bool) -> tuple[tuple[str, str], ...]:
    """The pairs whose best candidates are tested beside the winner, LA(en, t) and LA(rel, t) (paper, Figs 3 and 7).

    Those of a grid, which scores all candidates of every pair; with one pair, it is the winner's.
    """
    spec = search.spec
    assert isinstance(spec, SearchSpec)
    several = isinstance(spec.space, MixtureSpace) and len(spec.space.pairs) > 1 and spec.strategy == GRID
    return spec.space.pairs if enhanced and several else ()  # type: ignore[union-attr]


def _of_pair(
    adapters: AdapterSteps, search: Step, target: str, task: TaskSection, pair: tuple[str, str]
) -> PlannedSystem:
    merges = merges_of(adapters, search, target, task.name, pair=pair)
    label = f"LA({', '.join(pair)})"
    tested = merged_system(adapters, target, task, merges, label)
    return PlannedSystem(f"pair:{'+'.join(pair)}", label, "pair", pair, tested.evaluations)


def _search(adapters: AdapterSteps, target: str, task: TaskSection, pairs: tuple[tuple[str, str], ...]) -> Step:
    space = planned_space(adapters.campaign.search, pairs)
    inputs = {"theta_pre": adapters.theta_pre}
    for seed in adapters.campaign.seeds:
        for code in dict.fromkeys(code for pair in pairs for code in pair):
            inputs[f"language:{code}@{seed}"] = adapters.language(code, seed)
        for role, step in adapters.task_input(task, seed).items():
            inputs[f"{role}@{seed}"] = step
    return make_step(adapters.search_spec(target, task, space), inputs)
