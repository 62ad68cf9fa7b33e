"""run: one visible table from spec type to function. What a worker process keeps warm lives here."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from jobs.adapters.formats import adapter_format, is_adapter
from jobs.evaluate import evaluate
from jobs.evaluate_prompted import evaluate_language_model
from jobs.evaluation_sets import EvaluationSet
from jobs.evaluator import Evaluator, WarmEvaluator
from jobs.folds import leave_one_out
from jobs.initial_adapter import initial_adapter
from jobs.job import JobCall, JobResult, Progress, TrialScores
from jobs.language_evaluator import LanguageEvaluator
from jobs.merge_winner import merge
from jobs.metrics import metric_over
from jobs.spec import (
    BackboneRef,
    EvaluationSpec,
    InitialAdapterSpec,
    LanguageAdapterSpec,
    MergeSpec,
    Mixture,
    SearchSpec,
    TaskAdapterSpec,
    TaskRef,
    is_language_model,
    metric_of,
)
from jobs.train_languages import train_languages
from jobs.train_prompted import train_prompted
from jobs.train_task import train_task


class Worker:
    """Carries out calls one after another in this process and keeps backbones, adapters and data between them."""

    def __init__(self) -> None:
        """Loads nothing yet."""
        self._warm: dict[BackboneRef, WarmEvaluator] = {}
        self._language_models: dict[BackboneRef, LanguageEvaluator] = {}

    def run(self, call: JobCall, progress: Progress) -> JobResult:
        """Carry out any step but a search. Raises what the job raises."""
        match call.spec:
            case InitialAdapterSpec():
                return initial_adapter(call)
            case LanguageAdapterSpec():
                return _only(train_languages([call], progress))
            case TaskAdapterSpec():
                return train_prompted(call, progress) if call.spec.task.prompt else train_task(call, progress)
            case MergeSpec():
                return merge(call)
            case EvaluationSpec() if _asks_language_model(call.spec.task, call.inputs):
                return evaluate_language_model(call, self._language_evaluator(call.spec.backbone, call.cache), progress)
            case EvaluationSpec():
                return evaluate(call, self._evaluator(call.spec.backbone, call.cache), progress)
            case SearchSpec():
                raise TypeError("a search is many calls of `score`: its executor runs it")

    def score(self, call: JobCall, mixture: Mixture, share: float = 1.0, objective: str = "") -> TrialScores:
        """Scores of one candidate of the search `call` on the first `share` of an objective's validation set."""
        spec = call.spec
        assert isinstance(spec, SearchSpec)
        started = time.perf_counter()
        wanted = spec.objective(objective)
        part = replace(wanted.data, share=share) if share != 1.0 else wanted.data
        data = EvaluationSet(wanted.task, part, "validation", wanted.max_length, spec.mask_probability)
        warm_for = self._language_evaluator if _asks_language_model(wanted.task, call.inputs) else self._evaluator
        # An evaluator knows one task, whose adapter has the same role in every search.
        tasks = {f"task@{seed}": spec.task_role(wanted, seed) for seed in spec.seeds}
        inputs = {**call.inputs, **{own: call.inputs[role] for own, role in tasks.items() if role in call.inputs}}
        evaluator = Evaluator(warm_for(spec.backbone, call.cache), data, inputs)
        scores = {seed: evaluator.evaluate(mixture, seed) for seed in spec.seeds}
        name, _ = metric_of(wanted.task)
        folds = {s: leave_one_out(score.statistics, metric_over(name, score.columns)) for s, score in scores.items()}
        return TrialScores({seed: s.value for seed, s in scores.items()}, folds, time.perf_counter() - started)

    def _evaluator(self, backbone: BackboneRef, cache: Path) -> WarmEvaluator:
        if backbone not in self._warm:
            self._warm[backbone] = WarmEvaluator(backbone, cache)
        return self._warm[backbone]

    def _language_evaluator(self, backbone: BackboneRef, cache: Path) -> LanguageEvaluator:
        if backbone not in self._language_models:
            self._language_models[backbone] = LanguageEvaluator(backbone, cache)
        return self._language_models[backbone]


def _asks_language_model(task: TaskRef, inputs: Mapping[str, Path]) -> bool:
    """Prompts and next tokens go to a plain language model, and so does masked LM with adapters in PEFT's format."""
    if task.kind == "masked-lm":
        return any(adapter_format(path) == "peft" for path in inputs.values() if is_adapter(path))
    return bool(task.prompt) or is_language_model(task.kind)


def _only(outcomes: Iterator[tuple[str, JobResult | Exception]]) -> JobResult:
    ((_, outcome),) = outcomes
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
