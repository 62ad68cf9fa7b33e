"""Joint comparisons: one search and one merge for several targets and tasks, tested on each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jobs.errors import Fault
from jobs.spec import MergeSpec, SearchObjective, SearchSpec, is_language_model
from orchestrator.campaign.comparisons import JointSection
from orchestrator.campaign.tasks import TaskSection
from orchestrator.plan.adapter_steps import AdapterSteps
from orchestrator.plan.comparisons import PlannedComparison, PlannedSystem, merged_system
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
    related = related_languages(section, pool, faults)
    merged = [task for task in tasks if not (adapters.stacked or is_language_model(task.kind))]
    faults += [_not_stacked(section, task) for task in merged]
    if merged or len(related) < len(section.targets):
        return
    others = tuple(dict.fromkeys(one.code for target in section.targets for one in related[target].chosen))
    space = planned_space(adapters.campaign.search, [(anchor, other) for anchor in anchors for other in others])
    wanted = [(task, target, adapters.objective(target, task)) for task in tasks for target in section.targets]
    spec = adapters.joint_search_spec(tuple(one for *_, one in wanted), space, section.choose)
    joint = _Joint(adapters, section, tuple(tasks), _search(adapters, tuple(tasks), spec))
    merges = joint.merges()
    for task, target, objective in wanted:
        systems = (*joint.baselines(task, objective), joint.winner(task, target, merges))
        yield PlannedComparison(
            section, target, task.ref, related[target], joint.search, merges, systems, task.language
        )


def _not_stacked(section: JointSection, task: TaskSection) -> Fault:
    what = "a joint comparison weighs language adapters alone, and the adapter of this task is merged with them"
    where = f"comparison {section.name}, task {task.name}"
    return Fault(what, where, task.kind, "use kind mixture, or bottleneck adapters, on which task adapters are stacked")


def _search(adapters: AdapterSteps, tasks: tuple[TaskSection, ...], spec: SearchSpec) -> Step:
    inputs = {"theta_pre": adapters.theta_pre}
    for seed in adapters.campaign.seeds:
        for code in keys_of(spec.space):
            inputs[f"language:{code}@{seed}"] = adapters.language(code, seed)
        for task in tasks:
            for step in adapters.task_input(task, seed).values():
                inputs[f"task.{task.name}@{seed}"] = step
    return make_step(spec, inputs)


@dataclass(frozen=True, slots=True)
class _Joint:
    """The search, and what is merged and tested after it."""

    adapters: AdapterSteps
    section: JointSection
    tasks: tuple[TaskSection, ...]
    search: Step

    def merges(self) -> tuple[tuple[int, Step], ...]:
        """The one winner, for each seed."""
        target, task = joined_name(self.section.targets), joined_name(task.name for task in self.tasks)
        return tuple((seed, self._merge(target, task, seed)) for seed in self.adapters.campaign.seeds)

    def winner(self, task: TaskSection, target: str, merges: tuple[tuple[int, Step], ...]) -> PlannedSystem:
        return merged_system(self.adapters, target, task, merges, "one merge for all")

    def baselines(self, task: TaskSection, objective: SearchObjective) -> Iterator[PlannedSystem]:
        """The plain mean, an end of the front, and the adapter of the task's language."""
        assert isinstance(self.search.spec, SearchSpec)
        mean = dict(plain_mean(keys_of(self.search.spec.space)).weights)
        yield self._weighted(
            PlannedSystem("mean", "plain mean", "baseline", tuple(mean), ()), task, objective.target, mean
        )
        seeds = self.adapters.campaign.seeds
        best = tuple((seed, self._merge(objective.target, task.name, seed, objective.name)) for seed in seeds)
        alone = merged_system(self.adapters, objective.target, task, best, "best for this alone")
        yield PlannedSystem("best", alone.label, "baseline", (), alone.evaluations)
        anchor = PlannedSystem(f"proxy:{task.language}", f"{task.language} adapter", "proxy", (task.language,), ())
        yield self._weighted(anchor, task, objective.target, {task.language: 1.0})

    def _weighted(
        self, system: PlannedSystem, task: TaskSection, target: str, weights: dict[str, float]
    ) -> PlannedSystem:
        """`system` with its evaluations: a weighted sum of language adapters."""
        steps = []
        for seed in self.adapters.campaign.seeds:
            used = {f"language:{code}": self.adapters.language(code, seed) for code in weights}
            roles = {f"language:{code}": weight for code, weight in weights.items()}
            steps.append((seed, self.adapters.evaluation(target, task, seed, roles, used)))
        return PlannedSystem(system.name, system.label, system.role, system.languages, tuple(steps))

    def _merge(self, target: str, task: str, seed: int, best_for: str = "") -> Step:
        """The search's winner, or its best for one objective alone."""
        own = {r: s for r, s in self.search.inputs if r.startswith("language:") and r.endswith(f"@{seed}")}
        spec = MergeSpec(target, task, self.adapters.backbone, seed, best_for)
        return make_step(spec, {"search": self.search, "theta_pre": self.adapters.theta_pre, **own})
