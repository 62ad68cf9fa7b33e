"""Steps of language arithmetic (arXiv 2404.15737): a search of lambda, what it finds merged, and the baselines."""

from __future__ import annotations

from jobs.spec import MergeSpec, SearchSpec
from orchestrator.campaign.comparisons import EnhancementSection, ZeroShotSection
from orchestrator.campaign.tasks import TaskSection
from orchestrator.plan.adapter_steps import AdapterSteps
from orchestrator.plan.comparisons import PlannedComparison, PlannedSystem, SystemRole, merged_system
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
    """One target on one task: pairs of the task's language, the related ones and, to enhance it, the target's own."""
    sources = [one.code for one in related.chosen]
    enhanced = isinstance(section, EnhancementSection)
    others = [target] if enhanced else sources
    pairs = [(task.language, other) for other in others if other != task.language]
    if enhanced:
        pairs += [(source, target) for source in sources]
    search = _search(adapters, target, task, tuple(pairs))
    merges = tuple((seed, _merge(adapters, search, task, seed)) for seed in adapters.campaign.seeds)
    systems = (
        _weighted(adapters, target, task, "proxy", {task.language: 1.0}),
        *(_weighted(adapters, target, task, "proxy", {source: 1.0}) for source in sources),
        *([_weighted(adapters, target, task, "own", {target: 1.0})] if enhanced else []),
        _weighted(adapters, target, task, "fixed", dict.fromkeys(pairs[0], 0.5)),
        merged_system(adapters, target, task, merges, "language arithmetic"),
    )
    return PlannedComparison(section, target, task.ref, related, search, merges, systems, task.language)


def _search(adapters: AdapterSteps, target: str, task: TaskSection, pairs: tuple[tuple[str, str], ...]) -> Step:
    space = planned_space(adapters.campaign.search, pairs)
    inputs = {"theta_pre": adapters.theta_pre}
    for seed in adapters.campaign.seeds:
        for code in dict.fromkeys(code for pair in pairs for code in pair):
            inputs[f"language:{code}@{seed}"] = adapters.language(code, seed)
        for role, step in adapters.task_input(task, seed).items():
            inputs[f"{role}@{seed}"] = step
    return make_step(adapters.search_spec(target, task, space), inputs)


def _merge(adapters: AdapterSteps, search: Step, task: TaskSection, seed: int) -> Step:
    found = search.spec
    assert isinstance(found, SearchSpec)
    sources = {r: s for r, s in search.inputs if r.startswith("language:") and r.endswith(f"@{seed}")}
    spec = MergeSpec(found.target, task.name, adapters.backbone, seed)
    return make_step(spec, {"search": search, "theta_pre": adapters.theta_pre, **sources})


def _weighted(
    adapters: AdapterSteps, target: str, task: TaskSection, role: SystemRole, weights: dict[str, float]
) -> PlannedSystem:
    steps = []
    for seed in adapters.campaign.seeds:
        inputs = {f"language:{code}": adapters.language(code, seed) for code in weights}
        roles = {f"language:{code}": weight for code, weight in weights.items()}
        steps.append((seed, adapters.evaluation(target, task, seed, roles, inputs)))
    name = f"{role}:{'+'.join(weights)}" if role != "own" else "own"
    labels = {
        "proxy": f"{next(iter(weights))} adapter",
        "own": f"{target} adapter (MAD-X)",
        "fixed": f"lambda 0.5 of {' and '.join(weights)}",
    }
    return PlannedSystem(name, labels[role], role, tuple(weights), tuple(steps))
