"""What a plan compares: systems, their evaluations, and the search behind the one that is put to the test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from jobs.spec import MergeSpec, SearchSpec, TaskRef
from orchestrator.campaign.comparisons import ComparisonSection, MixtureSection
from orchestrator.campaign.methods import Method
from orchestrator.campaign.schema import Judge
from orchestrator.campaign.tasks import TaskSection
from orchestrator.plan.adapter_steps import AdapterSteps
from orchestrator.store.step import Step, make_step
from search_spaces.relatedness.selection import Selection

SystemRole = Literal["proxy", "own", "fixed", "baseline", "bare", "pair", "judged", "single", "arithmetic"]


@dataclass(frozen=True, slots=True)
class PlannedSystem:
    """One row of a comparison: who is scored, and the evaluation step of each seed."""

    name: str
    label: str
    role: SystemRole
    languages: tuple[str, ...]
    evaluations: tuple[tuple[int, Step], ...]


@dataclass(frozen=True, slots=True)
class PlannedComparison:
    """One target on one task: a search, its merged winner per seed, and the systems scored on test data.

    `source`: language of the task's training data. `method`: what was searched, of a mixture; None for language
    arithmetic with its own baselines. `budget`: tokens that the target's own adapter was trained on, 0 as the
    campaign says. `judges`: the search of each judge, the deciding one first, where text is among them.
    """

    section: ComparisonSection
    target: str
    task: TaskRef
    related: Selection
    search: Step
    merges: tuple[tuple[int, Step], ...]
    systems: tuple[PlannedSystem, ...]
    source: str
    method: Method | None = None
    budget: int = 0
    judges: tuple[tuple[Judge, Step], ...] = ()

    @property
    def name(self) -> str:
        """The section's name, and what tells this comparison from others of the section."""
        several = isinstance(self.section, MixtureSection) and len(self.section.methods) > 1
        parts = [self.method.name] if self.method and several else []
        parts += [f"{self.budget:,} tokens"] if self.budget else []
        parts += [one.code for one in self.related.chosen] if self.section.related.each else []
        return f"{self.section.name}: {', '.join(parts)}" if parts else self.section.name


def merges_of(
    adapters: AdapterSteps,
    search: Step,
    target: str,
    task: str,
    best_for: str = "",
    pair: tuple[str, ...] = (),
    single: bool = False,
) -> tuple[tuple[int, Step], ...]:
    """Every seed's merge, named by `target` and `task`: the search's winner, or its best for one objective or pair, or
    the best with one lambda.
    """
    merges = []
    for seed in adapters.campaign.seeds:
        own = {role: step for role, step in search.inputs if ":" in role and role.endswith(f"@{seed}")}
        spec = MergeSpec(target, task, adapters.backbone, seed, best_for, pair, single)
        merges.append((seed, make_step(spec, {"search": search, "theta_pre": adapters.theta_pre, **own})))
    return tuple(merges)


def merged_system(
    adapters: AdapterSteps, target: str, task: TaskSection, merges: tuple[tuple[int, Step], ...], label: str
) -> PlannedSystem:
    """The system that a search found: its merged adapter of every seed, scored once on test data."""
    steps = tuple(
        (seed, adapters.evaluation(target, task, seed, {"merge": 1.0}, {"merge": merge})) for seed, merge in merges
    )
    return PlannedSystem("arithmetic", label, "arithmetic", (), steps)


def single_system(
    adapters: AdapterSteps, search: Step, target: str, tasks: tuple[TaskSection, TaskSection], label: str
) -> tuple[PlannedSystem, ...]:
    """Of a search by parts the best candidate with one lambda, which the freedom is measured against; else none.

    `tasks`: what is tested, and what the search scores.
    """
    assert isinstance(search.spec, SearchSpec)
    if not search.spec.parts:
        return ()
    task, scored = tasks
    merges = merges_of(adapters, search, target, scored.name, single=True)
    tested = merged_system(adapters, target, task, merges, label)
    return (PlannedSystem("single", f"{label}, one lambda", "single", (), tested.evaluations),)


def weighted_system(
    adapters: AdapterSteps,
    target: str,
    task: TaskSection,
    system: tuple[str, str, SystemRole],
    weights: Mapping[str, float],
) -> PlannedSystem:
    """A weighted sum of language adapters, scored on test data. `system`: name, label and role."""
    roles = {f"language:{code}": weight for code, weight in weights.items()}
    steps = []
    for seed in adapters.campaign.seeds:
        used = {f"language:{code}": adapters.language(code, seed) for code in weights}
        steps.append((seed, adapters.evaluation(target, task, seed, roles, used)))
    return PlannedSystem(*system, tuple(weights), tuple(steps))
