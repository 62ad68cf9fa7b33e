"""plan_campaign: a campaign becomes steps. Pure apart from reading the hashes of local files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from jobs.data.cldr_ner import LABELS as CLDR_LABELS
from jobs.errors import raise_all
from jobs.spec import (
    BackboneRef,
    BottleneckConfig,
    EvaluationSpec,
    InitialAdapterSpec,
    LanguageAdapterSpec,
    MergeSpec,
    MixtureSpace,
    SearchSpec,
    TaskAdapterSpec,
    TaskRef,
    TrainingConfig,
)
from orchestrator.campaign import Campaign
from orchestrator.references import References, missing_adapters, trained_languages
from orchestrator.related import related_languages
from orchestrator.sections import ComparisonSection, TaskSection, TrainingSection
from orchestrator.step import Step, make_step
from search_spaces.relatedness import Selection
from search_spaces.weights import lambda_grid

SystemRole = Literal["proxy", "own", "fixed", "arithmetic"]


@dataclass(frozen=True, slots=True)
class System:
    """One row of a comparison: who is scored, and the evaluation step of each seed."""

    name: str
    label: str
    role: SystemRole
    languages: tuple[str, ...]
    evaluations: tuple[tuple[int, Step], ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One target on one task: a search, its merged winner per seed, and the systems scored on test data."""

    section: ComparisonSection
    target: str
    task: TaskRef
    related: Selection
    search: Step
    merges: tuple[tuple[int, Step], ...]
    systems: tuple[System, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps, inputs before those that need them, and what they are compared for."""

    campaign: Campaign
    backbone: BackboneRef
    steps: tuple[Step, ...]
    comparisons: tuple[Comparison, ...]


def plan_campaign(campaign: Campaign, references: References) -> Plan:
    """Every step of a campaign. Raises InputError that lists all languages and files that lack."""
    planner = _Planner(campaign, references)
    trained = tuple(planner.language_adapters())
    comparisons = tuple(planner.comparisons())
    references.check()
    roots = (planner.theta_pre, *trained, *_ends(comparisons))
    return Plan(campaign, planner.backbone, tuple(in_order(roots)), comparisons)


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


def _ends(comparisons: Iterable[Comparison]) -> Iterator[Step]:
    for comparison in comparisons:
        for system in comparison.systems:
            yield from (step for _, step in system.evaluations)


@dataclass(slots=True)
class _Planner:
    campaign: Campaign
    references: References
    backbone: BackboneRef = field(init=False)
    theta_pre: Step = field(init=False)
    languages: tuple[str, ...] = field(init=False)
    _trained: dict[tuple[str, int], Step] = field(init=False, default_factory=dict)
    _tasks: dict[tuple[str, int], Step] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.backbone = self.references.backbone(self.campaign.backbone)
        self.languages = trained_languages(self.campaign)
        raise_all(missing_adapters(self.campaign, self.languages))
        section = self.campaign.language_adapter
        adapter = BottleneckConfig(
            section.reduction_factor,
            section.invertible_reduction_factor,
            section.non_linearity,
            section.init_seed,
        )
        self.theta_pre = make_step(InitialAdapterSpec(self.backbone, adapter))

    def language_adapters(self) -> Iterator[Step]:
        for seed in self.campaign.seeds:
            for language in self.languages:
                yield self.language_adapter(language, seed)

    def language_adapter(self, language: str, seed: int) -> Step:
        if (language, seed) not in self._trained:
            initial = self.theta_pre.spec
            assert isinstance(initial, InitialAdapterSpec)
            spec = LanguageAdapterSpec(
                language=language,
                corpus=self.references.data(self.campaign.corpora, language, ("train", "validation"), "corpus"),
                backbone=self.backbone,
                adapter=initial.adapter,
                training=_training(self.campaign.language_adapter.training),
                seed=seed,
            )
            self._trained[language, seed] = make_step(spec, {"theta_pre": self.theta_pre})
        return self._trained[language, seed]

    def task_adapter(self, task: TaskSection, seed: int) -> Step:
        if (task.name, seed) not in self._tasks:
            section = self.campaign.task_adapter
            assert section is not None and task.data is not None
            spec = TaskAdapterSpec(
                task=task_ref(task),
                language=task.language,
                data=self.references.data(task.data, task.language, ("train", "validation"), task.name),
                backbone=self.backbone,
                adapter=BottleneckConfig(section.reduction_factor, 0, section.non_linearity, section.init_seed),
                training=_training(section.training),
                seed=seed,
            )
            inputs = {f"language:{task.language}": self.language_adapter(task.language, seed)}
            self._tasks[task.name, seed] = make_step(spec, inputs)
        return self._tasks[task.name, seed]

    def comparisons(self) -> Iterator[Comparison]:
        tasks = {task.name: task for task in self.campaign.tasks}
        for section in self.campaign.comparisons:
            anchors = {tasks[name].language for name in section.tasks}
            pool = [code for code in (section.related.pool or self.languages) if code not in anchors]
            for target, related in related_languages(section, pool, self.references.faults).items():
                for name in section.tasks:
                    yield self._comparison(section, target, tasks[name], related)

    def _comparison(self, section: ComparisonSection, target: str, task: TaskSection, related: Selection) -> Comparison:
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
            self._arithmetic(target, task, merges),
        )
        return Comparison(section, target, task_ref(task), related, search, merges, systems)

    def _search(self, target: str, task: TaskSection, pairs: tuple[tuple[str, str], ...]) -> Step:
        spec = SearchSpec(
            target=target,
            task=task_ref(task),
            data=self.references.data(task.data or self.campaign.corpora, target, ("validation",), task.name),
            backbone=self.backbone,
            space=MixtureSpace(pairs, lambda_grid(self.campaign.search.lambda_step)),
            seeds=self.campaign.seeds,
            max_length=self.campaign.search.max_length,
            mask_probability=self.campaign.language_adapter.training.mask_probability,
        )
        inputs = {"theta_pre": self.theta_pre}
        for seed in self.campaign.seeds:
            for code in dict.fromkeys(code for pair in pairs for code in pair):
                inputs[f"language:{code}@{seed}"] = self.language_adapter(code, seed)
            if task.kind != "masked-lm":
                inputs[f"task@{seed}"] = self.task_adapter(task, seed)
        return make_step(spec, inputs)

    def _merge(self, search: Step, task: TaskSection, seed: int) -> Step:
        found = search.spec
        assert isinstance(found, SearchSpec)
        adapters = {r: s for r, s in search.inputs if r.startswith("language:") and r.endswith(f"@{seed}")}
        spec = MergeSpec(found.target, task.name, self.backbone, seed)
        return make_step(spec, {"search": search, "theta_pre": self.theta_pre, **adapters})

    def _weighted(self, target: str, task: TaskSection, role: SystemRole, weights: dict[str, float]) -> System:
        steps = []
        for seed in self.campaign.seeds:
            adapters = {f"language:{code}": self.language_adapter(code, seed) for code in weights}
            roles = {f"language:{code}": weight for code, weight in weights.items()}
            steps.append((seed, self._evaluation(target, task, seed, roles, adapters)))
        name = f"{role}:{'+'.join(weights)}" if role != "own" else "own"
        labels = {
            "proxy": f"{next(iter(weights))} adapter",
            "own": f"{target} adapter (MAD-X)",
            "fixed": f"lambda 0.5 of {' and '.join(weights)}",
        }
        return System(name, labels[role], role, tuple(weights), tuple(steps))

    def _arithmetic(self, target: str, task: TaskSection, merges: tuple[tuple[int, Step], ...]) -> System:
        steps = tuple(
            (seed, self._evaluation(target, task, seed, {"merge": 1.0}, {"merge": merge})) for seed, merge in merges
        )
        return System("arithmetic", "language arithmetic", "arithmetic", (), steps)

    def _evaluation(
        self, target: str, task: TaskSection, seed: int, weights: dict[str, float], adapters: dict[str, Step]
    ) -> Step:
        spec = EvaluationSpec(
            target=target,
            task=task_ref(task),
            data=self.references.data(task.data or self.campaign.corpora, target, ("test",), task.name),
            backbone=self.backbone,
            seed=seed,
            weights=tuple(weights.items()),
            split="test",
            max_length=self.campaign.search.max_length,
            mask_probability=self.campaign.language_adapter.training.mask_probability,
        )
        task_input = {} if task.kind == "masked-lm" else {"task": self.task_adapter(task, seed)}
        return make_step(spec, {**adapters, **task_input})


def task_ref(task: TaskSection) -> TaskRef:
    """The task as specs know it; the CLDR's labels where the file gives none."""
    cldr = task.kind == "ner" and not task.labels
    return TaskRef(task.name, task.kind, tuple(CLDR_LABELS) if cldr else task.labels)


def _training(section: TrainingSection) -> TrainingConfig:
    return TrainingConfig(**section.model_dump())
