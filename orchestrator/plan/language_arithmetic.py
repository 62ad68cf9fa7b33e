"""Steps of language arithmetic (arXiv 2404.15737): a search of lambda, what it finds merged, and the baselines."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from jobs.spec import GRID, MixtureSpace, SearchSpec, is_language_model
from orchestrator.campaign.comparisons import EnhancementSection, ZeroShotSection
from orchestrator.campaign.schema import Judge
from orchestrator.campaign.tasks import TaskSection
from orchestrator.plan.adapter_steps import AdapterSteps
from orchestrator.plan.comparisons import (
    PlannedComparison,
    PlannedSystem,
    merged_system,
    merges_of,
    single_system,
    weighted_system,
)
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

    The baselines are the adapters alone, their mean, and no language adapter at all. What the first of the campaign's
    judges chooses is put to the test, and what another would have chosen stands beside it.
    """
    sources = [one.code for one in related.chosen]
    enhanced = isinstance(section, EnhancementSection)
    others = [target] if enhanced else sources
    pairs = [(task.language, other) for other in others if other != task.language]
    if enhanced:
        pairs += [(source, target) for source in sources]
    judges = _judges(adapters, task)
    searches = {judge: _search(adapters, target, scored, tuple(pairs)) for judge, scored in judges.items()}
    merges = {judge: merges_of(adapters, search, target, judges[judge].name) for judge, search in searches.items()}
    first = next(iter(judges))
    rivals = [judge for judge in judges if judge != first]
    search = searches[first]
    weighted = partial(weighted_system, adapters, target, task)
    half = dict.fromkeys(pairs[0], 0.5)
    systems = (
        weighted(("no-adapter", "no language adapter", "bare"), {}),
        *(weighted((f"proxy:{code}", f"{code} adapter", "proxy"), {code: 1.0}) for code in (task.language, *sources)),
        *([weighted(("own", f"{target} adapter (MAD-X)", "own"), {target: 1.0})] if enhanced else []),
        weighted((f"fixed:{'+'.join(half)}", f"lambda 0.5 of {' and '.join(half)}", "fixed"), half),
        *(
            _of_pair(adapters, search, target, (task, judges[first]), pair)
            for pair in _compared_pairs(search, enhanced)
        ),
        *single_system(adapters, search, target, (task, judges[first]), "language arithmetic"),
        *(_of_judge(merged_system(adapters, target, task, merges[rival], ""), rival) for rival in rivals),
        merged_system(adapters, target, task, merges[first], "language arithmetic"),
    )
    judged = tuple(searches.items()) if "text" in searches else ()
    about = (section, target, task.ref, related)
    return PlannedComparison(*about, search, merges[first], systems, task.language, judges=judged)


def _judges(adapters: AdapterSteps, task: TaskSection) -> Mapping[Judge, TaskSection]:
    """What candidates are scored for, the judge that decides first: the task itself, or language modelling on the
    target's text. That is the campaign's own task of this kind, if it has one, so that the search is the same step.
    """
    judges = adapters.campaign.search.judged_by
    if is_language_model(task.kind) or "text" not in judges:
        return {"labels": task}
    kind = adapters.campaign.language_adapter.objective
    own = (one for one in adapters.campaign.tasks if one.kind == kind)
    text = next(own, TaskSection(name="text", kind=kind, language=task.language))
    return {judge: task if judge == "labels" else text for judge in judges}


def _of_judge(tested: PlannedSystem, judge: Judge) -> PlannedSystem:
    label = f"language arithmetic, chosen by {judge}"
    return PlannedSystem(f"by:{judge}", label, "judged", (), tested.evaluations)


def _compared_pairs(search: Step, enhanced: bool) -> tuple[tuple[str, str], ...]:
    """The pairs whose best candidates are tested beside the winner, LA(en, t) and LA(rel, t) (paper, Figs 3 and 7).

    Those of a grid, which scores all candidates of every pair; with one pair, it is the winner's.
    """
    spec = search.spec
    assert isinstance(spec, SearchSpec)
    several = isinstance(spec.space, MixtureSpace) and len(spec.space.pairs) > 1 and spec.strategy == GRID
    return spec.space.pairs if enhanced and several else ()  # type: ignore[union-attr]


def _of_pair(
    adapters: AdapterSteps, search: Step, target: str, tasks: tuple[TaskSection, TaskSection], pair: tuple[str, str]
) -> PlannedSystem:
    """`tasks`: what is tested, and what the search scores."""
    task, scored = tasks
    merges = merges_of(adapters, search, target, scored.name, pair=pair)
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
