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
from orchestrator.plan.searches import unknown_start
from orchestrator.store.step import Step


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps, inputs before those that need them, and what they are compared for.

    `notes`: what a reader should know of adapters that others trained.
    """

    campaign: Campaign
    backbone: BackboneRef
    steps: tuple[Step, ...]
    comparisons: tuple[PlannedComparison, ...]
    notes: tuple[str, ...] = ()


def plan_campaign(campaign: Campaign, references: References) -> Plan:
    """Every step of a campaign. Raises InputError that lists all languages and files that lack."""
    adapters = AdapterSteps(campaign, references)
    trained = [adapters.language(language, seed) for seed in campaign.seeds for language in adapters.languages]
    comparisons = tuple(_comparisons(adapters))
    steps = tuple(in_order((adapters.theta_pre, *trained, *_ends(comparisons))))
    references.faults += unknown_start(steps, campaign.language_adapter.config)
    references.check()
    return Plan(campaign, adapters.backbone, steps, comparisons, tuple(references.notes))


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


def _comparisons(adapters: AdapterSteps) -> Iterator[PlannedComparison]:
    campaign = adapters.campaign
    tasks = {task.name: task for task in campaign.tasks}
    for section in campaign.comparisons:
        if isinstance(section, MixtureSection):
            yield from mixture_comparisons(adapters, section)
        elif isinstance(section, JointSection):
            yield from joint_comparisons(adapters, section)
        else:
            anchors = {tasks[name].language for name in section.tasks}
            pool = [code for code in (section.related.pool or adapters.languages) if code not in anchors]
            for target, related in related_languages(section, pool, adapters.references.faults, adapters.texts).items():
                for name in section.tasks:
                    yield language_arithmetic(adapters, section, target, tasks[name], related)
