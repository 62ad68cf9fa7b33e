"""The evaluation job: one adapter stack on one split, scored once, example by example."""

from __future__ import annotations

import json

from jobs.errors import Fault, InputError
from jobs.evaluation.evaluator import Score, Stack
from jobs.evaluation.headed_evaluator import HeadedEvaluator
from jobs.evaluation.madx_evaluator import WarmEvaluator
from jobs.scoring.metrics import Statistics
from jobs.spec import EvaluationSpec, JobCall, JobResult, Mixture, Progress
from jobs.tasks.masked_lm import MaskedSet
from jobs.tasks.protocol import ScoredSet
from jobs.tokens.evaluation_sets import EvaluationSet

STATISTICS = "statistics.json"
PREDICTIONS = "predictions.jsonl"


def evaluate(call: JobCall[EvaluationSpec], warm: WarmEvaluator | HeadedEvaluator, progress: Progress) -> JobResult:
    """Score the stack of an `EvaluationSpec` with an evaluator of the same backbone.

    Metrics: all of the task's kind in points, or `mlm_loss` in nats per token and `tokens`. Writes `statistics.json`
    ({"columns", "rows"}: one row per example, for the paired bootstrap) and, but for masked LM, `predictions.jsonl`
    (each example, gold and predicted). Raises InputError for missing inputs and faulty data.
    """
    spec = call.spec
    if warm.backbone.ref != spec.backbone:
        got = f"{warm.backbone.ref.name}, needed: {spec.backbone.name}"
        raise InputError(Fault("the evaluator holds another backbone", call.name, got))
    evaluation = EvaluationSet(spec.task, spec.data, spec.split, spec.max_length, spec.mask_probability)
    score = warm.evaluate(evaluation, stack_of(call, spec))
    prepared = warm.prepared(evaluation)
    details = {"examples": len(score.statistics), **prepared.details()}
    metrics = prepared.metrics(score.statistics.sum(axis=0))
    _write_predictions(call, prepared, score)
    document = {"columns": prepared.columns, "rows": _plain(score.statistics)}
    (call.output / STATISTICS).write_text(json.dumps(document) + "\n", encoding="utf-8")
    progress(call.name, metrics)
    return JobResult(metrics, details=details)


def stack_of(call: JobCall[EvaluationSpec], spec: EvaluationSpec) -> Stack:
    """The stack that a spec asks for. Raises InputError for inputs that are missing.

    Bottleneck adapters have the task's adapter on top of them; of PEFT's kinds it is one of those that `weights` names.
    """
    missing = [role for role, _ in spec.weights if role not in call.inputs]
    if missing:
        raise InputError(Fault("inputs are missing", call.name, ", ".join(missing)))
    theta_pre = call.inputs.get("theta_pre")
    # A weighted sum, as the spec says; task arithmetic is one, too, where theta_pre counts.
    mixture = Mixture(spec.weights, "task_arithmetic" if theta_pre else "linear", spec.options)
    adapters = {role: call.inputs[role] for role, _ in spec.weights}
    return Stack(mixture if spec.weights else None, adapters, call.inputs.get("task"), theta_pre)


def _plain(statistics: Statistics) -> list[list[float]]:
    """Rows as JSON numbers; losses keep six decimals, more than float32 sums mean."""
    return [[round(value, 6) for value in row] for row in statistics.tolist()]


def _write_predictions(call: JobCall[EvaluationSpec], prepared: ScoredSet | MaskedSet, score: Score) -> None:
    if score.predictions is None:
        return
    with (call.output / PREDICTIONS).open("w", encoding="utf-8") as file:
        for row in prepared.rows(score.predictions):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
