"""The evaluation job: one adapter stack on one split, scored once, example by example."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jobs.data.groups import example_groups
from jobs.errors import Fault, InputError
from jobs.evaluation.evaluator import Scored, Stack
from jobs.evaluation.headed_evaluator import HeadedEvaluator
from jobs.evaluation.language_evaluator import LanguageEvaluator
from jobs.evaluation.madx_evaluator import WarmEvaluator
from jobs.evaluation.prompted import LanguageScore
from jobs.runtime.phases import phase
from jobs.scoring.metrics import LOSS_COLUMNS, metric_over, metrics_of
from jobs.spec import EvaluationSpec, JobCall, JobResult, Mixture, Progress, metric_of
from jobs.tokens.evaluation_sets import EvaluationSet

STATISTICS = "statistics.json"
PREDICTIONS = "predictions.jsonl"


# Beyond it a float overflows, and JSON has no infinity.
_LARGEST_EXPONENT = 700.0


def evaluate(
    call: JobCall[EvaluationSpec], warm: WarmEvaluator | HeadedEvaluator | LanguageEvaluator, progress: Progress
) -> JobResult:
    """Score the stack of an `EvaluationSpec` with an evaluator of the same backbone.

    Metrics: all of the task's kind in points, or `mlm_loss` in nats per token and `tokens`. Of a language model: those
    of the columns that the task's metric comes with, in points; of text the loss in nats per token, its exponential
    `perplexity`, and `tokens`; the details then say how many texts reached `max_new_tokens` without ending, and how
    many prompts were cut, how many examples' choices tie. They name the `precision` of the weights. Writes
    `statistics.json` ({"columns", "rows"}: one row per example, for the paired bootstrap, and `groups` where examples
    share a context) and, but for held-out text, `predictions.jsonl` (each example, gold and predicted). Raises
    InputError for missing inputs, adapters that do not fit and faulty data.
    """
    spec = call.spec
    held = warm.model if isinstance(warm, LanguageEvaluator) else warm.backbone
    if held.ref != spec.backbone:
        got = f"{held.ref.name}, needed: {spec.backbone.name}"
        raise InputError(Fault("the evaluator holds another backbone", call.name, got))
    evaluation = EvaluationSet(spec.task, spec.data, spec.split, spec.max_length, spec.mask_probability)
    found: Scored
    if isinstance(warm, LanguageEvaluator):
        found = answered = warm.evaluate(evaluation, stack_of(call), lambda values: progress(call.name, values))
        metrics, details = _metrics(spec, answered), answered.details
        _write(call, found.columns, np.round(found.statistics, 6).tolist(), answered.predictions or None)
    else:
        found = score = warm.evaluate(evaluation, stack_of(call))
        prepared = warm.prepared(evaluation)
        metrics, details = prepared.metrics(score.statistics.sum(axis=0)), prepared.details()
        # Losses keep six decimals, more than float32 sums mean.
        rows = [[round(value, 6) for value in row] for row in score.statistics.tolist()]
        _write(call, prepared.columns, rows, None if score.predictions is None else prepared.rows(score.predictions))
    progress(call.name, metrics)
    precision = str(held.model.dtype).removeprefix("torch.")
    return JobResult(metrics, details={"examples": len(found.statistics), "precision": precision, **details})


def stack_of(call: JobCall[EvaluationSpec]) -> Stack:
    """The stack that the spec asks for. Raises InputError for inputs that are missing.

    Bottleneck adapters have the task's adapter on top of them; of PEFT's kinds it is one of those that `weights` names.
    """
    spec = call.spec
    missing = [role for role, _ in spec.weights if role not in call.inputs]
    if missing:
        raise InputError(Fault("inputs are missing", call.name, ", ".join(missing)))
    theta_pre = call.inputs.get("theta_pre")
    # A weighted sum, as the spec says; task arithmetic is one, too, where theta_pre counts.
    mixture = Mixture(spec.weights, "task_arithmetic" if theta_pre else "linear", spec.options)
    adapters = {role: call.inputs[role] for role, _ in spec.weights}
    return Stack(mixture if spec.weights else None, adapters, call.inputs.get("task"), theta_pre)


def _metrics(spec: EvaluationSpec, score: LanguageScore) -> dict[str, float]:
    sums = score.statistics.sum(axis=0)
    if score.columns == LOSS_COLUMNS:
        perplexity = math.exp(min(score.value, _LARGEST_EXPONENT))
        return {metric_of(spec.task)[0]: score.value, "perplexity": perplexity, "tokens": float(sums[1])}
    return {name: float(metric_over(name, score.columns)(sums)) for name in metrics_of(score.columns)}


@phase("writing")
def _write(call: JobCall[EvaluationSpec], columns: Sequence[str], rows: Any, predictions: Iterable[Any] | None) -> None:
    spec = call.spec
    groups = example_groups(spec.data, spec.split, spec.task, call.cache)
    document = {"columns": columns, "rows": rows} | ({"groups": groups} if groups else {})
    (call.output / STATISTICS).write_text(json.dumps(document) + "\n", encoding="utf-8")
    if predictions is not None:
        with (call.output / PREDICTIONS).open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in predictions)
