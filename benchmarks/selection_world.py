"""The worlds in which choices of languages are compared: adapters of a pool, targets, tasks, and what they score.

A world is a campaign and a workspace: made here on the embedded backbone, with the product's own steps in one process,
or that of a campaign which has run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from selection_table import to_test

from jobs.evaluation.evaluator import Evaluator
from jobs.evaluation.madx_evaluator import WarmEvaluator
from jobs.files.atomic import write_text
from jobs.spec import EvaluationSpec, Mixture, Split, metric_of, mixture_role
from jobs.tokens.evaluation_sets import EvaluationSet
from orchestrator.campaign.load import load_campaign
from orchestrator.campaign.tasks import TaskSection
from orchestrator.execution.local import LocalExecutor
from orchestrator.execution.loop import describe_nothing, execute
from orchestrator.plan.adapter_steps import AdapterSteps
from orchestrator.plan.index import write_index
from orchestrator.plan.pinned_references import References
from orchestrator.plan.plan import in_order, plan_campaign
from orchestrator.store.artifacts import open_store
from orchestrator.store.layout import campaign_folder, check_workspace
from search_spaces.relatedness.codes import resolve_language
from search_spaces.relatedness.ranking import rank, tipa_weights

CAMPAIGN = """
campaign: selection
description: Every language of a pool, and every pair of them, for targets that are in none.
backbone: {{name: embedded}}
corpora: {{source: cldr, limits: {{validation: {few}, test: {many}}}}}
languages: {{pool: {languages}}}
language_adapter:
  reduction_factor: 4
  invertible_reduction_factor: 4
  training:
    optimizer_steps: {steps}
    batch_size: 8
    learning_rate: 5.0e-3
    warmup_ratio: 0.1
    max_length: 64
    evaluate_every: {steps}
    evaluation_examples: 30
task_adapter:
  reduction_factor: 16
  training:
    optimizer_steps: {task_steps}
    batch_size: 32
    learning_rate: 1.0e-2
    warmup_ratio: 0.1
    max_length: 64
    evaluate_every: {task_steps}
tasks:
  - {{name: ner, kind: ner, language: en, data: {{source: cldr, limits: {{validation: {few}, test: {many}}}}}}}
  - {{name: text, kind: masked-lm, language: en}}
comparisons:
  - name: targets
    kind: enhancement
    targets: {targets}
    tasks: [ner, text]
    related: {{by: geographic, pool: {pool}}}
search: {{max_length: 64}}
"""
SPLITS: tuple[Split, Split] = ("validation", "test")
# Candidates beside single adapters and pairs: TIPA's weights by these distances, and the plain mean of the pool.
TIPA = ("featural", "syntactic", "mixed")
Scores = dict[str, list[float | None]]  # candidate -> [validation, test]


@dataclass(frozen=True, slots=True)
class World:
    """A campaign's steps of one seed, and the workspace that has them."""

    steps: AdapterSteps
    workspace: Path
    pool: tuple[str, ...]
    targets: tuple[str, ...]
    lambdas: tuple[float, ...]

    @property
    def seed(self) -> int:
        """The first one."""
        return self.steps.campaign.seeds[0]

    @property
    def tasks(self) -> tuple[TaskSection, ...]:
        """All of the campaign."""
        return self.steps.campaign.tasks

    def others(self, target: str) -> tuple[str, ...]:
        """The pool without the target."""
        key = resolve_language(target).key
        return tuple(code for code in self.pool if resolve_language(code).key != key)

    @property
    def settings(self) -> dict[str, Any]:
        """What a file of scores is of: scores of other settings are never mixed with these."""
        campaign = self.steps.campaign
        return {
            "campaign": campaign.campaign,
            "backbone": {"name": self.steps.backbone.name, "revision": self.steps.backbone.revision},
            "pool": list(self.pool),
            "targets": list(self.targets),
            "tasks": {
                task.name: dict(zip(("metric", "better"), metric_of(task.ref), strict=True)) for task in self.tasks
            },
            "anchors": {task.name: task.language for task in self.tasks},
            "lambdas": list(self.lambdas),
            "seed": self.seed,
            "optimizer steps": campaign.language_adapter.training.optimizer_steps,
            "adapters": [step.key for step in world_steps(self)],
        }


def made(
    folder: Path, pool: Sequence[str], targets: Sequence[str], lambdas: Sequence[float], sizes: Mapping[str, int]
) -> World:
    """The embedded world; adapters are trained where the workspace lacks them. `sizes`: the numbers of `CAMPAIGN`."""
    folder.mkdir(parents=True, exist_ok=True)
    check_workspace(folder)
    languages = list(dict.fromkeys((*pool, *targets)))
    text = CAMPAIGN.format(
        pool=f"[{', '.join(pool)}]", targets=f"[{', '.join(targets)}]", languages=f"[{', '.join(languages)}]", **sizes
    )
    file = folder / "selection.yaml"
    write_text(file, text)
    plan = plan_campaign(load_campaign(file), References(folder / "cache"))
    steps = AdapterSteps(plan.campaign, References(folder / "cache"))
    seed = plan.campaign.seeds[0]
    wanted = [steps.language(code, seed) for code in languages]
    wanted += [step for task in plan.campaign.tasks for step in steps.task_input(task, seed).values()]
    summary = execute(in_order(wanted), open_store(folder), LocalExecutor(), _told, {}, describe_nothing)
    if summary.errors:
        raise RuntimeError(str(summary.errors))
    (home := campaign_folder(folder, plan.campaign.campaign)).mkdir(parents=True, exist_ok=True)
    write_index(plan, home)
    return World(steps, folder, tuple(pool), tuple(targets), tuple(lambdas))


def opened(workspace: Path, file: Path, pool: Sequence[str], targets: Sequence[str], lambdas: Sequence[float]) -> World:
    """The world of a campaign that has run in `workspace`; all of its languages and targets where none are named."""
    steps = AdapterSteps(load_campaign(file), References(workspace / "cache"))
    known = dict.fromkeys(target for one in steps.campaign.comparisons for target in one.targets)
    world = World(steps, workspace, tuple(pool) or steps.languages, tuple(targets) or tuple(known), tuple(lambdas))
    lacking = [
        step.key for step in world_steps(world) if not (workspace / "artifacts" / step.key / "record.json").is_file()
    ]
    if lacking:
        raise SystemExit(
            f"{workspace} lacks {len(lacking)} steps of {file}: {', '.join(lacking[:3])} ...; run it first"
        )
    return world


def world_steps(world: World) -> Iterator[Any]:
    """The adapters that candidates are made of."""
    yield from (world.steps.language(code, world.seed) for code in world.pool)
    for task in world.tasks:
        yield from world.steps.task_input(task, world.seed).values()


def _told(event: object) -> None:
    """Nobody watches."""


def candidates(world: World, target: str) -> dict[str, Mixture]:
    """Name -> mixture: every adapter alone, every pair at every lambda (the weight of the first), the mean, TIPA."""
    pool = world.others(target)
    found = {code: Mixture(((code, 1.0),)) for code in pool}
    for one, other in combinations(pool, 2):
        for weight in world.lambdas:
            found[f"{one}+{other}@{weight:g}"] = Mixture(((one, weight), (other, 1.0 - weight)))
    found["mean"] = Mixture(tuple((code, 1.0 / len(pool)) for code in pool))
    for by in TIPA:
        near = {one.code: one.distance for one in rank(target, pool, by).related}
        weights = tipa_weights({code: near.get(code, float("nan")) for code in pool})
        found[f"tipa:{by}"] = Mixture(tuple(weights.items()))
    return found


class Scorer:
    """Scores candidates on both splits, on one warm evaluator."""

    def __init__(self, world: World) -> None:
        """Load the backbone."""
        self.world = world
        self._warm = WarmEvaluator(world.steps.backbone, world.workspace / "cache", os.environ.get("DEVICE", "cpu"))

    def scores(self, task: TaskSection, target: str) -> Scores:
        """Every candidate's score on validation data and, where a table needs it, on test data."""
        mixtures, seed = candidates(self.world, target), self.world.seed
        validation, test = (
            Evaluator(self._warm, self._set(task, target, split), self._inputs(task)) for split in SPLITS
        )
        found = {name: round(validation.evaluate(mixture, seed).value, 4) for name, mixture in mixtures.items()}
        needed = to_test(found, metric_of(task.ref)[1], task.language, self.world.lambdas)
        last = {name: round(test.evaluate(mixtures[name], seed).value, 4) for name in needed}
        return {name: [value, last.get(name)] for name, value in found.items()}

    def _set(self, task: TaskSection, target: str, split: Split) -> EvaluationSet:
        steps = self.world.steps
        hidden = steps.campaign.language_adapter.training.mask_probability
        if split == "validation":
            one = steps.objective(target, task)
            return EvaluationSet(one.task, one.data, split, one.max_length, hidden)
        spec = steps.evaluation(target, task, self.world.seed, {}, {}).spec
        assert isinstance(spec, EvaluationSpec)
        return EvaluationSet(spec.task, spec.data, split, spec.max_length, hidden)

    def _inputs(self, task: TaskSection) -> dict[str, Path]:
        world, seed = self.world, self.world.seed
        at = world.workspace / "artifacts"
        roles = {mixture_role(code, seed): at / world.steps.language(code, seed).key for code in world.pool}
        roles |= {f"{role}@{seed}": at / step.key for role, step in world.steps.task_input(task, seed).items()}
        return {**roles, "theta_pre": at / world.steps.theta_pre.key}
