"""The evaluation job: one adapter stack on one split, scored once, example by example."""

from __future__ import annotations

import json

from jobs.data.load import load_ner
from jobs.errors import Fault, InputError
from jobs.evaluation_sets import EvaluationSet, WordSet
from jobs.evaluator import Score, Stack, WarmEvaluator
from jobs.job import JobCall, JobResult, Progress
from jobs.metrics import LOSS_COLUMNS, SPAN_COLUMNS, Statistics, f1, mlm_loss, precision, recall
from jobs.spec import EvaluationSpec

STATISTICS = "statistics.json"
PREDICTIONS = "predictions.jsonl"


def evaluate(call: JobCall, warm: WarmEvaluator, progress: Progress) -> JobResult:
    """Score the stack of an `EvaluationSpec` with an evaluator of the same backbone.

    Metrics: `f1`, `precision`, `recall` in points, or `mlm_loss` in nats per token and `tokens`. Writes
    `statistics.json` ({"columns", "rows"}: one row per example, for the paired bootstrap) and, for named entities,
    `predictions.jsonl` (tokens, gold and predicted tags). Raises InputError for missing inputs and faulty data.
    """
    spec = call.spec
    assert isinstance(spec, EvaluationSpec)
    if warm.backbone.ref != spec.backbone:
        got = f"{warm.backbone.ref.name}, needed: {spec.backbone.name}"
        raise InputError(Fault("the evaluator holds another backbone", call.name, got))
    evaluation = EvaluationSet(spec.task, spec.data, spec.split, spec.max_length, spec.mask_probability)
    score = warm.evaluate(evaluation, _stack(call, spec))
    prepared = warm.prepared(evaluation)
    details = {"examples": len(score.statistics), "unknown_share": prepared.unknown_share}
    if isinstance(prepared, WordSet):
        _write_predictions(call, spec, prepared, score)
        details["lost_words"] = prepared.lost_words
    metrics = _metrics(spec, score.statistics)
    columns = SPAN_COLUMNS if isinstance(prepared, WordSet) else LOSS_COLUMNS
    document = {"columns": columns, "rows": _plain(score.statistics)}
    (call.output / STATISTICS).write_text(json.dumps(document) + "\n", encoding="utf-8")
    progress(call.name, metrics)
    return JobResult(metrics, details=details)


def _stack(call: JobCall, spec: EvaluationSpec) -> Stack:
    needed = [role for role, _ in spec.weights] + ([] if spec.task.kind == "masked-lm" else ["task"])
    missing = [role for role in needed if role not in call.inputs]
    if missing:
        raise InputError(Fault("inputs are missing", call.name, ", ".join(missing)))
    languages = tuple((call.inputs[role], weight) for role, weight in spec.weights)
    task = None if spec.task.kind == "masked-lm" else call.inputs["task"]
    return Stack(languages, task, call.inputs.get("theta_pre"))


def _metrics(spec: EvaluationSpec, statistics: Statistics) -> dict[str, float]:
    sums = statistics.sum(axis=0)
    if spec.task.kind == "masked-lm":
        return {"mlm_loss": float(mlm_loss(sums)), "tokens": float(sums[1])}
    return {"f1": float(f1(sums)), "precision": float(precision(sums)), "recall": float(recall(sums))}


def _plain(statistics: Statistics) -> list[list[float]]:
    """Rows as JSON numbers; losses keep six decimals, more than float32 sums mean."""
    return [[round(value, 6) for value in row] for row in statistics.tolist()]


def _write_predictions(call: JobCall, spec: EvaluationSpec, prepared: WordSet, score: Score) -> None:
    assert score.predictions is not None, "named-entity scores have predictions"
    tags = iter(prepared.labels[number] for number in score.predictions.tolist())
    with (call.output / PREDICTIONS).open("w", encoding="utf-8") as file:
        for sentence in load_ner(spec.data, spec.split, call.cache):
            predicted = [next(tags) for _ in sentence.tokens]
            row = {"tokens": sentence.tokens, "gold": sentence.tags, "predicted": predicted}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
