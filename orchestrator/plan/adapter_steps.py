"""The adapter steps of a campaign, each made once: theta_pre, language adapters, task adapters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from jobs.errors import Fault, InputError
from jobs.spec import (
    BackboneRef,
    Choice,
    DataRef,
    EvaluationSpec,
    ExamplesRef,
    ForeignAdapterSpec,
    InitialAdapterSpec,
    LanguageAdapterSpec,
    Option,
    SearchObjective,
    SearchSpace,
    SearchSpec,
    Split,
    StrategySpec,
    TaskAdapterSpec,
    TaskRef,
    is_language_model,
)
from orchestrator.campaign.adapters import ForeignAdapterSection
from orchestrator.campaign.methods import MULTILINGUAL
from orchestrator.campaign.schema import Campaign, languages_with_adapter
from orchestrator.campaign.tasks import TaskSection
from orchestrator.plan.backbone_checks import backbone_faults
from orchestrator.plan.pinned_references import References
from orchestrator.plan.searches import has_parts, joint_strategy, planned_strategy, search_faults
from orchestrator.plan.text_source import TextPlaces, text_distances
from orchestrator.store.step import Step, make_step
from search_spaces.mixtures.spaces import size
from search_spaces.relatedness.text_distances import TextDistances


@dataclass(slots=True)
class AdapterSteps:
    """Makes and remembers the training steps of one campaign, and the evaluations of what they make."""

    campaign: Campaign
    references: References
    backbone: BackboneRef = field(init=False)
    theta_pre: Step = field(init=False)
    languages: tuple[str, ...] = field(init=False)
    stacked: bool = field(init=False)
    _trained: dict[tuple[str, int, int], Step] = field(init=False, default_factory=dict)
    _tasks: dict[tuple[str, str, int], Step] = field(init=False, default_factory=dict)
    _on_top: dict[tuple[str, str, int], Step] = field(init=False, default_factory=dict)
    _taken_in: dict[str, Step] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Raises InputError for a backbone that is not there."""
        self.backbone = self.references.backbone(self.campaign.backbone)
        self.references.faults += backbone_faults(self.campaign, self.backbone.name, self.references.config)
        self.languages = languages_with_adapter(self.campaign)
        section = self.campaign.language_adapter
        self.stacked = section.stacked
        self.theta_pre = make_step(InitialAdapterSpec(self.backbone, section.config))

    def language(self, code: str, seed: int, budget: int = 0) -> Step:
        """The language adapter of `code`, trained on `budget` tokens of its corpus (0: as the campaign says).

        One that others trained is the same for every seed; raises InputError where it should have a budget.
        """
        foreign = self.campaign.languages.adapters.get(code)
        if foreign is not None:
            if budget:
                where, todo = f"languages.adapters.{code}", "put it into `pool`, or drop `budgets`"
                raise InputError(Fault("what others trained has no budget of tokens", where, todo=todo))
            return self._foreign(foreign, code, f"languages.adapters.{code}")
        if (code, seed, budget) not in self._trained:
            section = self.campaign.language_adapter
            training = section.training.config
            spec = LanguageAdapterSpec(
                language=code,
                corpus=self.references.data(self.campaign.corpora, code, ("train", "validation"), "corpus"),
                backbone=self.backbone,
                adapter=section.config,
                training=replace(training, max_tokens=budget or training.max_tokens),
                seed=seed,
                objective=section.objective,
            )
            inputs = {"theta_pre": self.theta_pre}
            if start := self.campaign.languages.start_from.get(code):
                inputs["start"] = self._foreign(start, code, f"languages.start_from.{code}")
            self._trained[code, seed, budget] = make_step(spec, inputs)
        return self._trained[code, seed, budget]

    def _foreign(
        self, section: ForeignAdapterSection, language: str, where: str, task: TaskSection | None = None
    ) -> Step:
        """An adapter that others trained; what it is not fit for joins the faults."""
        if where not in self._taken_in:
            stacked = self.stacked and task is not None
            shape = None if stacked else self.campaign.language_adapter.config
            asked = self._task_ref(task) if task else None
            found = self.references.adapter(section, where, self.backbone, shape, asked)
            spec = ForeignAdapterSpec(language, found, self.backbone, asked)
            self._taken_in[where] = make_step(spec, {"theta_pre": self.theta_pre})
        return self._taken_in[where]

    def texts(self, kinds: Sequence[str], languages: Sequence[str]) -> TextDistances:
        """Distances of languages by their texts in the campaign's corpora. Raises InputError for faulty texts."""
        places = TextPlaces(self.references, self.campaign.corpora, {})
        return text_distances(kinds, languages, places, self.backbone)

    def task(self, task: TaskSection, seed: int, code: str = "") -> Step:
        """The adapter of a task, trained in `code` (default: as the task says), or in all its `sources`."""
        code = code or (task.language if task.trained_on == "language" else MULTILINGUAL)
        if task.adapter and code == task.language:
            return self._foreign(task.adapter, code, f"task {task.name}: adapter", task)
        if (task.name, code, seed) not in self._tasks:
            below = {"theta_pre": self.theta_pre}
            if self.stacked:
                below = {f"language:{one}": self.language(one, seed) for one in _codes(task, code)}
            self._tasks[task.name, code, seed] = make_step(self._task_spec(task, seed, code), below)
        return self._tasks[task.name, code, seed]

    def task_on_top(self, task: TaskSection, seed: int, code: str) -> Step:
        """The adapter of a task, of PEFT's kinds, trained on top of the frozen language adapter of `code` (MAD-X)."""
        if (task.name, code, seed) not in self._on_top:
            below = {"theta_pre": self.theta_pre, f"language:{code}": self.language(code, seed)}
            self._on_top[task.name, code, seed] = make_step(self._task_spec(task, seed, code), below)
        return self._on_top[task.name, code, seed]

    def _task_spec(self, task: TaskSection, seed: int, code: str) -> TaskAdapterSpec:
        section = self.campaign.task_adapter
        assert section is not None and task.data is not None
        training = section.training.config_for(task.training)
        data = [self.references.data(task.data, one, ("train", "validation"), task.name) for one in _codes(task, code)]
        asked = self._task_ref(task)
        return TaskAdapterSpec(
            # What ends a written answer changes nothing that is trained, unless what is written chooses the weights.
            task=asked if training.best_by == "metric" else replace(asked, stop=()),
            language=code,
            data=data[0],
            backbone=self.backbone,
            adapter=section.config(self.campaign.language_adapter),
            training=replace(training, max_length=task.max_length or training.max_length),
            seed=seed,
            more_data=tuple(data[1:]),
        )

    def _task_ref(self, task: TaskSection) -> TaskRef:
        """The task as specs know it, with the data of its worked examples; what they lack joins the faults."""
        shown = task.examples
        if task.chat:
            self.references.check_chat(self.backbone, f"task {task.name}: chat")
        if shown is None:
            return task.ref
        section = shown.data or task.data
        assert section is not None, "a task with a prompt has data"
        data = self.references.data(section, shown.language or task.language, ("train",), f"{task.name}: examples")
        return replace(task.ref, examples=ExamplesRef(data, shown.count, shown.seed))

    def task_input(self, task: TaskSection, seed: int) -> dict[str, Step]:
        """The task adapter that is stacked on whatever language adapter is scored; empty where nothing is."""
        return {"task": self.task(task, seed)} if self.stacked and not is_language_model(task.kind) else {}

    def search_spec(self, target: str, task: TaskSection, space: SearchSpace) -> SearchSpec:
        """The search of `space` on the target's validation data; what makes it impossible joins the faults."""
        section = self.campaign.search
        strategy = planned_strategy(section, space, (target,))
        self.references.faults += search_faults(section, space, strategy, target)
        spec = self._search_of((self.objective(target, task),), space, strategy)
        if section.parts and has_parts(space):
            return replace(spec, parts=section.parts)
        if not section.folds or size(space) == 1:
            return spec
        return replace(spec, folds=section.folds, fold_seed=section.seed)

    def objective(self, target: str, task: TaskSection) -> SearchObjective:
        """What candidates are scored by: the target's validation data for the task."""
        data = self._evaluation_data(task, target, "validation")
        return SearchObjective(target, self._task_ref(task), data, self._length(task))

    def joint_search_spec(
        self, objectives: tuple[SearchObjective, ...], space: SearchSpace, choice: Choice
    ) -> SearchSpec:
        """The search of one mixture for all of `objectives`; what makes it impossible joins the faults."""
        section, targets = self.campaign.search, tuple(dict.fromkeys(one.target for one in objectives))
        strategy = joint_strategy(section, space, targets)
        self.references.faults += search_faults(section, space, strategy, ", ".join(targets))
        return replace(self._search_of(objectives, space, strategy), choice=choice)

    def _search_of(
        self, objectives: tuple[SearchObjective, ...], space: SearchSpace, strategy: StrategySpec
    ) -> SearchSpec:
        first, *others = objectives
        return SearchSpec(
            target=first.target,
            task=first.task,
            data=first.data,
            backbone=self.backbone,
            space=space,
            seeds=self.campaign.seeds,
            max_length=first.max_length,
            mask_probability=self.campaign.language_adapter.training.mask_probability,
            strategy=strategy,
            also=tuple(others),
        )

    def evaluation(
        self,
        target: str,
        task: TaskSection,
        seed: int,
        weights: dict[str, float],
        adapters: dict[str, Step],
        options: tuple[Option, ...] = (),
    ) -> Step:
        """One test evaluation of the weighted sum of `adapters`, by role, with the stacked task adapter if any."""
        split: Split = "test"
        spec = EvaluationSpec(
            target=target,
            task=self._task_ref(task),
            data=self._evaluation_data(task, target, split),
            backbone=self.backbone,
            seed=seed,
            weights=tuple(weights.items()),
            split=split,
            max_length=self._length(task),
            mask_probability=self.campaign.language_adapter.training.mask_probability,
            options=options,
        )
        return make_step(spec, {**adapters, **self.task_input(task, seed)})

    def _length(self, task: TaskSection) -> int:
        """Tokens of a row; 0, of the harness's tasks, for as much as the model reads."""
        return task.max_length or (0 if task.kind == "lm-eval" else self.campaign.search.max_length)

    def _evaluation_data(self, task: TaskSection, target: str, split: Split) -> DataRef:
        """One split of the target's data; of kinds that score held-out text, the corpora."""
        if task.kind == "lm-eval":
            assert task.data is not None, "a task of the harness has data"
            return self.references.harness(task.data, target, split, self._task_ref(task))
        return self.references.data(task.target_data or self.campaign.corpora, target, (split,), task.name)


def _codes(task: TaskSection, code: str) -> tuple[str, ...]:
    """The languages of a task adapter called `code`."""
    return (task.sources or (task.language,)) if code == MULTILINGUAL else (code,)
