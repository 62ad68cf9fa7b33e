"""plan_campaign: a campaign becomes steps. Pure apart from reading the hashes of local files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jobs.spec import BackboneRef, MergeSpec, SearchSpec
from orchestrator.campaign.comparisons import ComparisonSection
from orchestrator.campaign.schema import Campaign
from orchestrator.campaign.tasks import TaskSection
from orchestrator.plan_adapters import AdapterSteps
from orchestrator.plan_comparisons import PlannedComparison, PlannedSystem, SystemRole, merged_system
from orchestrator.plan_joint import joint_comparisons
from orchestrator.plan_mixtures import mixture_comparisons
from orchestrator.references import References
from orchestrator.related import related_languages
from orchestrator.search_plan import planned_space
from orchestrator.store.step import Step, make_step
from search_spaces.relatedness.selection import Selection


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps, inputs before those that need them, and what they are compared for."""

    campaign: Campaign
    backbone: BackboneRef
    steps: tuple[Step, ...]
    comparisons: tuple[PlannedComparison, ...]


def plan_campaign(campaign: Campaign, references: References) -> Plan:
    """Every step of a campaign. Raises InputError that lists all languages and files that lack."""
    adapters = AdapterSteps(campaign, references)
    planner = _Planner(campaign, adapters)
    trained = tuple(planner.language_adapters())
    comparisons = tuple(planner.comparisons())
    references.check()
    roots = (adapters.theta_pre, *trained, *_ends(comparisons))
    return Plan(campaign, adapters.backbone, tuple(in_order(roots)), comparisons)


def in_order(roots: Iterable[Step]) -> Iterator[Step]:
    """Each step that the roots need, once, inputs first."""
    seen: set[str] = set()
    stack = [(step, False) for step in reversed(list(roots))]
    while stack:
        step, expanded = stack.pop()
        if step.key in seen:
            continue
        if expanded:
            seen.add(step.key)
            yield step
        else:
            stack.append((step, True))
            stack += [(source, False) for _, source in reversed(step.inputs)]


def _ends(comparisons: Iterable[PlannedComparison]) -> Iterator[Step]:
    for comparison in comparisons:
        for system in comparison.systems:
            yield from (step for _, step in system.evaluations)


@dataclass(frozen=True, slots=True)
class _Planner:
    campaign: Campaign
    adapters: AdapterSteps

    def language_adapters(self) -> Iterator[Step]:
        for seed in self.campaign.seeds:
            for language in self.adapters.languages:
                yield self.adapters.language(language, seed)

    def comparisons(self) -> Iterator[PlannedComparison]:
        tasks = {task.name: task for task in self.campaign.tasks}
        for section in self.campaign.comparisons:
            if section.kind == "mixture":
                yield from mixture_comparisons(self.adapters, section)
                continue
            if section.kind == "joint":
                yield from joint_comparisons(self.adapters, section)
                continue
            anchors = {tasks[name].language for name in section.tasks}
            pool = [code for code in (section.related.pool or self.adapters.languages) if code not in anchors]
            found = related_languages(section, pool, self.adapters.references.faults)
            for target, related in found.items():
                for name in section.tasks:
                    yield self._comparison(section, target, tasks[name], related)

    def _comparison(
        self, section: ComparisonSection, target: str, task: TaskSection, related: Selection
    ) -> PlannedComparison:
        sources = [one.code for one in related.chosen]
        others = [target] if section.kind == "enhancement" else sources
        pairs = [(task.language, other) for other in others if other != task.language]
        if section.kind == "enhancement":
            pairs += [(source, target) for source in sources]
        search = self._search(target, task, tuple(pairs))
        merges = tuple((seed, self._merge(search, task, seed)) for seed in self.campaign.seeds)
        systems = (
            self._weighted(target, task, "proxy", {task.language: 1.0}),
            *(self._weighted(target, task, "proxy", {source: 1.0}) for source in sources),
            *([self._weighted(target, task, "own", {target: 1.0})] if section.kind == "enhancement" else []),
            self._weighted(target, task, "fixed", dict.fromkeys(pairs[0], 0.5)),
            merged_system(self.adapters, target, task, merges, "language arithmetic"),
        )
        return PlannedComparison(section, target, task.ref, related, search, merges, systems, task.language)

    def _search(self, target: str, task: TaskSection, pairs: tuple[tuple[str, str], ...]) -> Step:
        space = planned_space(self.campaign.search, pairs)
        inputs = {"theta_pre": self.adapters.theta_pre}
        for seed in self.campaign.seeds:
            for code in dict.fromkeys(code for pair in pairs for code in pair):
                inputs[f"language:{code}@{seed}"] = self.adapters.language(code, seed)
            for role, step in self.adapters.task_input(task, seed).items():
                inputs[f"{role}@{seed}"] = step
        return make_step(self.adapters.search_spec(target, task, space), inputs)

    def _merge(self, search: Step, task: TaskSection, seed: int) -> Step:
        found = search.spec
        assert isinstance(found, SearchSpec)
        adapters = {r: s for r, s in search.inputs if r.startswith("language:") and r.endswith(f"@{seed}")}
        spec = MergeSpec(found.target, task.name, self.adapters.backbone, seed)
        return make_step(spec, {"search": search, "theta_pre": self.adapters.theta_pre, **adapters})

    def _weighted(self, target: str, task: TaskSection, role: SystemRole, weights: dict[str, float]) -> PlannedSystem:
        steps = []
        for seed in self.campaign.seeds:
            adapters = {f"language:{code}": self.adapters.language(code, seed) for code in weights}
            roles = {f"language:{code}": weight for code, weight in weights.items()}
            steps.append((seed, self.adapters.evaluation(target, task, seed, roles, adapters)))
        name = f"{role}:{'+'.join(weights)}" if role != "own" else "own"
        labels = {
            "proxy": f"{next(iter(weights))} adapter",
            "own": f"{target} adapter (MAD-X)",
            "fixed": f"lambda 0.5 of {' and '.join(weights)}",
        }
        return PlannedSystem(name, labels[role], role, tuple(weights), tuple(steps))
