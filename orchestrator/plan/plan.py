"""plan_campaign: a campaign becomes steps. Pure apart from reading the hashes of local files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jobs.spec import BackboneRef
from orchestrator.campaign.comparisons import JointSection, MixtureSection
from orchestrator.campaign.schema import Campaign
from orchestrator.plan.adapter_steps import AdapterSteps
from orchestrator.plan.comparisons import PlannedComparison
from orchestrator.plan.joint import joint_comparisons
from orchestrator.plan.language_arithmetic import language_arithmetic
from orchestrator.plan.mixtures import mixture_comparisons
from orchestrator.plan.pinned_references import References
from orchestrator.plan.related_languages import related_languages
from orchestrator.store.step import Step


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


def in_order(roots: Iterable[Step]) -> Iterable[Step]:
    """Each step that the roots need, once, inputs first."""
    found: dict[str, Step] = {}

    def visit(step: Step) -> None:
        if step.key not in found:
            for _, source in step.inputs:
                visit(source)
            found[step.key] = step

    for root in roots:
        visit(root)
    return found.values()


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
            if isinstance(section, MixtureSection):
                yield from mixture_comparisons(self.adapters, section)
                continue
            if isinstance(section, JointSection):
                yield from joint_comparisons(self.adapters, section)
                continue
            anchors = {tasks[name].language for name in section.tasks}
            pool = [code for code in (section.related.pool or self.adapters.languages) if code not in anchors]
            found = related_languages(section, pool, self.adapters.references.faults)
            for target, related in found.items():
                for name in section.tasks:
                    yield language_arithmetic(self.adapters, section, target, tasks[name], related)
