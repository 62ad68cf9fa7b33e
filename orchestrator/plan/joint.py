"""Joint comparisons: one search and one merge for several targets and tasks, tested on each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jobs.errors import Fault
from jobs.spec import SearchObjective, SearchSpec, is_language_model
from orchestrator.campaign.comparisons import JointSection
from orchestrator.campaign.tasks import TaskSection
from orchestrator.plan.adapter_steps import AdapterSteps
from orchestrator.plan.comparisons import PlannedComparison, PlannedSystem, merged_system, merges_of, weighted_system
from orchestrator.plan.related_languages import related_languages
from orchestrator.plan.searches import plain_mean, planned_space
from orchestrator.store.step import Step, joined_name, make_step
from search_spaces.mixtures.spaces import keys_of


def joint_comparisons(adapters: AdapterSteps, section: JointSection) -> Iterator[PlannedComparison]:
    """One comparison for each objective, all with the same search; what is wrong joins the references' faults."""
    named = {task.name: task for task in adapters.campaign.tasks}
    tasks = [named[name] for name in section.tasks]
    anchors = tuple(dict.fromkeys(task.language for task in tasks))
    pool = [code for code in (section.related.pool or adapters.languages) if code not in anchors]
    faults = adapters.references.faults
    related = related_languages(section, pool, faults, adapters.texts)
    merged = [task for task in tasks if not (adapters.stacked or is_language_model(task.kind))]
    faults += [_not_stacked(section, task) for task in merged]
    if merged or len(related) < len(section.targets):
        return
    others = tuple(dict.fromkeys(one.code for target in section.targets for one in related[target].chosen))
    space = planned_space(adapters.campaign.search, [(anchor, other) for anchor in anchors for other in others])
    wanted = [(task, target, adapters.objective(target, task)) for task in tasks for target in section.targets]
    spec = adapters.joint_search_spec(tuple(one for *_, one in wanted), space, section.choose)
    search = _search(adapters, tasks, spec)
    merges = merges_of(adapters, search, joined_name(section.targets), joined_name(task.name for task in tasks))
    for task, target, objective in wanted:
        winner = merged_system(adapters, target, task, merges, "one merge for all")
        systems = (*_baselines(adapters, search, task, objective), winner)
        yield PlannedComparison(section, target, task.ref, related[target], search, merges, systems, task.language)


def _not_stacked(section: JointSection, task: TaskSection) -> Fault:
    what = "a joint comparison weighs language adapters alone, and the adapter of this task is merged with them"
    where = f"comparison {section.name}, task {task.name}"
    return Fault(what, where, task.kind, "use kind mixture, or bottleneck adapters, on which task adapters are stacked")


def _search(adapters: AdapterSteps, tasks: Sequence[TaskSection], spec: SearchSpec) -> Step:
    inputs = {"theta_pre": adapters.theta_pre}
    for seed in adapters.campaign.seeds:
        for code in keys_of(spec.space):
            inputs[f"language:{code}@{seed}"] = adapters.language(code, seed)
        for task in tasks:
            for step in adapters.task_input(task, seed).values():
                inputs[f"task.{task.name}@{seed}"] = step
    return make_step(spec, inputs)


def _baselines(
    adapters: AdapterSteps, search: Step, task: TaskSection, objective: SearchObjective
) -> Iterator[PlannedSystem]:
    """The plain mean, an end of the front, and the adapter of the task's language."""
    assert isinstance(search.spec, SearchSpec)
    target = objective.target
    mean = dict(plain_mean(keys_of(search.spec.space)).weights)
    yield weighted_system(adapters, target, task, ("mean", "plain mean", "baseline"), mean)
    best = merges_of(adapters, search, target, task.name, objective.name)
    alone = merged_system(adapters, target, task, best, "best for this alone")
    yield PlannedSystem("best", alone.label, "baseline", (), alone.evaluations)
    anchor = task.language
    yield weighted_system(adapters, target, task, (f"proxy:{anchor}", f"{anchor} adapter", "proxy"), {anchor: 1.0})
