"""The evaluation job of a language model: one adapter stack on one split, scored once, example by example."""

from __future__ import annotations

import json
import math

import numpy as np

from jobs.errors import Fault, InputError
from jobs.evaluation.job import PREDICTIONS, STATISTICS, stack_of
from jobs.evaluation.language_evaluator import LanguageEvaluator
from jobs.evaluation.prompted_scores import LanguageScore
from jobs.scoring.metrics import EXAMPLES, LOSS_COLUMNS, metric_over
from jobs.spec import EvaluationSpec, JobCall, JobResult, Progress, metric_of
from jobs.tokens.evaluation_sets import EvaluationSet

# Beyond it a float overflows, and JSON has no infinity.
_LARGEST_EXPONENT = 700.0


def evaluate_language_model(call: JobCall[EvaluationSpec], warm: LanguageEvaluator, progress: Progress) -> JobResult:
    """Score the stack of an `EvaluationSpec` on prompts or held-out text, with an evaluator of the same backbone.

    Metrics: those of the columns that the task's metric comes with, in points; of text the loss in nats per token, its
    exponential `perplexity`, and `tokens`. Writes `statistics.json` ({"columns",
    "rows"}: one row per example, for the paired bootstrap) and `predictions.jsonl`. The details say how many texts
    reached `max_new_tokens` without ending, and how many prompts were cut. Raises InputError for missing inputs,
    adapters that do not fit and faulty data.
    """
    spec = call.spec
    if warm.model.ref != spec.backbone:
        got = f"{warm.model.ref.name}, needed: {spec.backbone.name}"
        raise InputError(Fault("the evaluator holds another backbone", call.name, got))
    evaluation = EvaluationSet(spec.task, spec.data, spec.split, spec.max_length, spec.mask_probability)
    score = warm.evaluate(evaluation, stack_of(call, spec), lambda values: progress(call.name, values))
    metrics = _metrics(spec, score)
    _write(call, score)
    progress(call.name, metrics)
    return JobResult(metrics, details={"examples": len(score.statistics), **score.details})


def _metrics(spec: EvaluationSpec, score: LanguageScore) -> dict[str, float]:
    sums = score.statistics.sum(axis=0)
    if score.columns == LOSS_COLUMNS:
        perplexity = math.exp(min(score.value, _LARGEST_EXPONENT))
        return {metric_of(spec.task)[0]: score.value, "perplexity": perplexity, "tokens": float(sums[1])}
    return {name: float(metric_over(name, score.columns)(sums)) for name in score.columns if name != EXAMPLES}


def _write(call: JobCall[EvaluationSpec], score: LanguageScore) -> None:
    rows = np.round(score.statistics, 6).tolist()
    document = {"columns": score.columns, "rows": rows}
    (call.output / STATISTICS).write_text(json.dumps(document) + "\n", encoding="utf-8")
    if not score.predictions:
        return
    with (call.output / PREDICTIONS).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in score.predictions)
