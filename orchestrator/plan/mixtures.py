"""Mixture comparisons: every method of a section is searched, merged and tested against the section's baselines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from jobs.errors import Fault, InputError
from jobs.spec import Line, LineSpace, Option, is_language_model
from orchestrator.campaign.comparisons import MixtureSection, chosen_methods
from orchestrator.campaign.methods import Lines, Method, Placeholders, branches, is_searched, is_stacked
from orchestrator.campaign.prompts import asked_otherwise
from orchestrator.campaign.schema import to_pool
from orchestrator.campaign.tasks import TaskSection
from orchestrator.plan.adapter_steps import AdapterSteps
from orchestrator.plan.comparisons import PlannedComparison, PlannedSystem, merged_system, merges_of, single_system
from orchestrator.plan.related_languages import related_languages
from orchestrator.store.step import Step, make_step
from search_spaces.mixtures.candidates import lambda_range
from search_spaces.relatedness.ranking import tipa_weights
from search_spaces.relatedness.selection import Selection

FIXED_LAMBDA = 0.5  # of a method without anything to search: its weights do not depend on it


def mixture_comparisons(adapters: AdapterSteps, section: MixtureSection) -> Iterator[PlannedComparison]:
    """One comparison for each target, task and method, in this order; what is wrong joins the references' faults."""
    tasks = {task.name: task for task in adapters.campaign.tasks}
    for name in section.tasks:
        related = _related(adapters, section, tasks[name])
        for target in section.targets:
            if target not in related:
                continue
            for selection, budget in product(_selections(section, related[target]), section.budgets or (0,)):
                mixtures = _Mixtures(adapters, section, tasks[name], target, selection, budget)
                for method in chosen_methods(section.methods):
                    try:
                        yield mixtures.comparison(method)
                    except InputError as wrong:
                        adapters.references.faults += wrong.faults


def _selections(section: MixtureSection, related: Selection) -> Iterator[Selection]:
    """All related languages together, or one after another."""
    if not section.related.each:
        yield related
        return
    yield from (replace(related, chosen=(one,)) for one in related.chosen)


def _related(adapters: AdapterSteps, section: MixtureSection, task: TaskSection) -> dict[str, Selection]:
    """Target -> its related languages; an empty selection where no method asks for any."""
    methods = (*chosen_methods(section.methods), *chosen_methods(section.baselines))
    if not any("related" in key for method in methods for key, _ in method.weights):
        return {target: Selection(target, (), "none asked for", "", "", (), ()) for target in section.targets}
    merged = task.sources or tuple(code for code in adapters.languages if code != task.language)
    pool = section.related.pool or (adapters.languages if adapters.stacked else merged)
    pool = tuple(code for code in pool if not adapters.stacked or code != task.language)
    return related_languages(section, pool, adapters.references.faults, adapters.texts)


@dataclass(frozen=True, slots=True)
class _Mixtures:
    """The methods of one target on one task."""

    adapters: AdapterSteps
    section: MixtureSection
    task: TaskSection
    target: str
    related: Selection
    budget: int

    def comparison(self, method: Method) -> PlannedComparison:
        search = self._search(method)
        merges = merges_of(self.adapters, search, self.target, self.task.name)
        systems = (
            *(self._baseline(baseline) for baseline in chosen_methods(self.section.baselines)),
            *single_system(self.adapters, search, self.target, (self.task, self.task), method.label),
            merged_system(self.adapters, self.target, self.task, merges, method.label),
        )
        about = (self.section, self.target, self.task.ref, self.related)
        return PlannedComparison(*about, search, merges, systems, self.task.language, method, self.budget)

    def _search(self, method: Method) -> Step:
        lambdas: tuple[float, ...] = (FIXED_LAMBDA,)
        if is_searched(method):
            lambdas = lambda_range(*method.lambdas, self.adapters.campaign.search.lambda_step)
        space = LineSpace(
            lines=tuple(_line(lines) for lines in self._branches(method)),
            lambdas=lambdas,
            method=method.rule,
            options=(*((name, value) for name, value in method.options if value != "lambda"), *self._space(method)),
            lambda_option=next((name for name, value in method.options if value == "lambda"), ""),
            heads=self._has_head,
        )
        inputs = {"theta_pre": self.adapters.theta_pre}
        for seed in self.adapters.campaign.seeds:
            for key in dict.fromkeys(key for lines in self._branches(method) for key, _ in lines):
                inputs[f"{key}@{seed}"] = self._adapter(key, seed)
            for role, step in self.adapters.task_input(self.task, seed).items():
                inputs[f"{role}@{seed}"] = step
        return make_step(self.adapters.search_spec(self.target, self.task, space), inputs)

    @property
    def _has_head(self) -> bool:
        """Whether the task's own adapters, which are merged, bring what answers."""
        return not (self.adapters.stacked or self.task.prompt or is_language_model(self.task.kind))

    def _baseline(self, method: Method) -> PlannedSystem:
        (lines,) = self._branches(method) or ((),)
        weights = {key: line.constant for key, line in lines}
        summed = {key: weight for key, weight in weights.items() if not is_stacked(key)}
        self._check_asked(method)
        task = asked_otherwise(self.task, method.asked, self.target)
        steps = []
        for seed in self.adapters.campaign.seeds:
            used = {"task" if is_stacked(key) else key: self._adapter(key, seed) for key in weights}
            if method.rule == "task_arithmetic":
                used["theta_pre"] = self.adapters.theta_pre
            space = self._space(method) if len(summed) > 1 else ()
            steps.append((seed, self.adapters.evaluation(self.target, task, seed, summed, used, space)))
        codes = tuple(key.partition(":")[2] for key in weights)
        return PlannedSystem(method.name, method.label, method.role, codes, tuple(steps))

    def _check_asked(self, method: Method) -> None:
        where = f"comparison {self.section.name}, baseline {method.name}"
        if method.asked and not self.task.prompt:
            todo = f"drop {', '.join(f'`{key}`' for key in method.asked)}"
            raise InputError(Fault("the task is not asked in words", where, self.task.name, todo))
        if method.asked.get("stop") and self.task.choices:
            raise InputError(Fault("choices are weighed, not written", where, self.task.name, "drop `stop`"))

    def _space(self, method: Method) -> tuple[Option, ...]:
        """The section's space, unless the method has one of its own."""
        own = any(name == "space" for name, _ in method.options)
        return (("space", self.section.space),) if self.section.space and not own else ()

    def _branches(self, method: Method) -> tuple[Lines, ...]:
        sources = self.task.sources or (self.task.language,)
        near = {one.code: one.distance for one in self.related.chosen}
        places = Placeholders(self.target, self.task.language, tuple(near), sources, tipa_weights(near))
        return branches(method, places)

    def _adapter(self, key: str, seed: int) -> Step:
        """The step behind a key, see `orchestrator.campaign.methods`. Raises InputError where there is none."""
        kind, _, code = key.partition(":")
        if kind == "stacked":
            self._check_stacked(key)
            return self.adapters.task_on_top(self.task, seed, self._with_adapter(code))
        if kind == "task":
            self._check_merged(key)
            return self.adapters.task(self.task, seed, code)
        if kind == "reference" and self.section.reference:
            self._check_merged(key)
            tasks = {task.name: task for task in self.adapters.campaign.tasks}
            return self.adapters.task(tasks[self.section.reference], seed, code)
        return self.adapters.language(self._with_adapter(code), seed, self.budget if code == self.target else 0)

    def _with_adapter(self, code: str) -> str:
        if code not in self.adapters.languages:
            where = f"comparison {self.section.name}, target {self.target}"
            raise InputError(Fault("this language has no adapter", where, code, to_pool(code, self.adapters.languages)))
        return code

    def _check_stacked(self, key: str) -> None:
        where = f"comparison {self.section.name}, task {self.task.name}"
        if self.adapters.stacked or is_language_model(self.task.kind):
            todo = "take the preset `own`" if self.adapters.stacked else "drop it"
            raise InputError(Fault("there is no task adapter to put on top of the sum", where, key, todo))
        if self.adapters.campaign.language_adapter.prefix:
            raise InputError(Fault("prefixes cannot be stacked", where, key, "drop it"))

    def _check_merged(self, key: str) -> None:
        if self.adapters.stacked or is_language_model(self.task.kind):
            what = "a task adapter that is stacked cannot be merged with language adapters"
            todo = "give `language_adapter` the section lora, ia3, kronecker or prefix, and the task data of its own"
            raise InputError(Fault(what, f"comparison {self.section.name}, task {self.task.name}", key, todo))


def _line(lines: Lines) -> Line:
    """As search spaces have it; a language adapter's key is its code."""
    return tuple((key.removeprefix("language:"), line.constant, line.slope) for key, line in lines)
