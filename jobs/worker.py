"""run: one visible table from spec type to function. What a worker process keeps warm lives here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.adapters.formats import adapter_format, is_adapter
from jobs.banks.bank import train_languages
from jobs.banks.task_bank import train_tasks
from jobs.data.groups import example_groups
from jobs.evaluation.evaluator import Evaluator
from jobs.evaluation.headed_evaluator import HeadedEvaluator
from jobs.evaluation.job import evaluate
from jobs.evaluation.language_evaluator import LanguageEvaluator
from jobs.evaluation.madx_evaluator import WarmEvaluator
from jobs.merging.job import merge
from jobs.runtime.machine import device_type, machine_facts
from jobs.scoring.bootstrap import jackknife
from jobs.scoring.folds import fold_numbers, fold_scores
from jobs.scoring.metrics import metric_over
from jobs.spec import (
    BackboneRef,
    EvaluationSpec,
    ForeignAdapterSpec,
    InitialAdapterSpec,
    JobCall,
    JobResult,
    LanguageAdapterSpec,
    MergeSpec,
    Mixture,
    Progress,
    SearchSpec,
    Spec,
    TaskAdapterSpec,
    TaskRef,
    TrialScores,
    is_language_model,
    metric_of,
)
from jobs.tokens.evaluation_sets import EvaluationSet
from jobs.training.foreign import foreign_adapter
from jobs.training.initial import initial_adapter


class Worker:
    """Carries out calls one after another in this process and keeps backbones, adapters and data between them."""

    def __init__(self) -> None:
        """Loads nothing yet."""
        self._warm: dict[BackboneRef, WarmEvaluator] = {}
        self._headed: dict[BackboneRef, HeadedEvaluator] = {}
        self._language_models: dict[BackboneRef, LanguageEvaluator] = {}

    def run(self, call: JobCall[Any], progress: Progress) -> JobResult:
        """Carry out any step but a search. Raises what the job raises."""
        result = self._run(call, progress)
        return replace(result, details={**result.details, "machine": machine_facts()})

    def _run(self, call: JobCall[Any], progress: Progress) -> JobResult:
        spec: Spec = call.spec
        match spec:
            case InitialAdapterSpec():
                return initial_adapter(call)
            case ForeignAdapterSpec():
                return foreign_adapter(call)
            case LanguageAdapterSpec():
                return _only(train_languages([call], progress))
            case TaskAdapterSpec():
                return _only(train_tasks([call], progress))
            case MergeSpec():
                return merge(call)
            case EvaluationSpec():
                return evaluate(call, self._evaluator(spec.task, call), progress)
            case SearchSpec():
                raise TypeError("a search is many calls of `score`: its executor runs it")

    def score(
        self, call: JobCall[SearchSpec], mixture: Mixture, share: float = 1.0, objective: str = ""
    ) -> TrialScores:
        """Scores of one candidate of the search `call` on the first `share` of an objective's validation set."""
        spec = call.spec
        started = time.perf_counter()
        wanted = spec.objective(objective)
        part = replace(wanted.data, share=share) if share != 1.0 else wanted.data
        data = EvaluationSet(wanted.task, part, "validation", wanted.max_length, spec.mask_probability)
        # An evaluator knows one task, whose adapter has the same role in every search.
        tasks = {f"task@{seed}": spec.task_role(wanted, seed) for seed in spec.seeds}
        inputs = {**call.inputs, **{own: call.inputs[role] for own, role in tasks.items() if role in call.inputs}}
        evaluator = Evaluator(self._evaluator(wanted.task, call), data, inputs)
        scores = {seed: evaluator.evaluate(mixture, seed) for seed in spec.seeds}
        name, _ = metric_of(wanted.task)
        metrics = {seed: metric_over(name, score.columns) for seed, score in scores.items()}
        values = {seed: score.value for seed, score in scores.items()}
        if not spec.folds:
            parts = {seed: jackknife(score.statistics, metrics[seed]) for seed, score in scores.items()}
            return TrialScores(values, parts, time.perf_counter() - started, device_type())
        groups = example_groups(wanted.data, "validation", wanted.task, call.cache)
        numbers = fold_numbers(len(scores[spec.seeds[0]].statistics), groups, spec.folds, spec.fold_seed)
        found = {seed: fold_scores(score.statistics, metrics[seed], numbers) for seed, score in scores.items()}
        without, alone = ({seed: one[which] for seed, one in found.items()} for which in (0, 1))
        return TrialScores(values, without, time.perf_counter() - started, device_type(), alone)

    def _evaluator(
        self, task: TaskRef, call: JobCall[EvaluationSpec | SearchSpec]
    ) -> WarmEvaluator | HeadedEvaluator | LanguageEvaluator:
        """The one that scores the task with the call's adapters.

        Prompts and next tokens are for a plain language model. An encoder is one too with adapters in PEFT's format.
        """
        backbone, cache = call.spec.backbone, call.cache
        if task.prompt or task.kind in ("causal-lm", "prefix-lm", "lm-eval"):
            return self._language_evaluator(backbone, cache)
        if not any(adapter_format(path) == "peft" for path in call.inputs.values() if is_adapter(path)):
            return self._warm_evaluator(backbone, cache)
        if is_language_model(task.kind):
            return self._language_evaluator(backbone, cache)
        return self._headed_evaluator(backbone, cache)

    def _warm_evaluator(self, backbone: BackboneRef, cache: Path) -> WarmEvaluator:
        if backbone not in self._warm:
            self._warm[backbone] = WarmEvaluator(backbone, cache)
        return self._warm[backbone]

    def _headed_evaluator(self, backbone: BackboneRef, cache: Path) -> HeadedEvaluator:
        if backbone not in self._headed:
            self._headed[backbone] = HeadedEvaluator(self._language_evaluator(backbone, cache))
        return self._headed[backbone]

    def _language_evaluator(self, backbone: BackboneRef, cache: Path) -> LanguageEvaluator:
        if backbone not in self._language_models:
            self._language_models[backbone] = LanguageEvaluator(backbone, cache)
        return self._language_models[backbone]


def _only(outcomes: Iterator[tuple[str, JobResult | Exception]]) -> JobResult:
    ((_, outcome),) = outcomes
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
