"""The evaluation job of a prompted task: one adapter stack on one split, scored once, example by example."""

from __future__ import annotations

import json

import numpy as np

from jobs.errors import Fault, InputError
from jobs.evaluate import PREDICTIONS, STATISTICS, stack_of
from jobs.evaluation_sets import EvaluationSet
from jobs.job import JobCall, JobResult, Progress
from jobs.language_evaluator import LanguageEvaluator
from jobs.metrics import EXAMPLES, metric_over
from jobs.prompted_scores import LanguageScore
from jobs.spec import EvaluationSpec


def evaluate_prompted(call: JobCall, warm: LanguageEvaluator, progress: Progress) -> JobResult:
    """Score the stack of an `EvaluationSpec` whose task has a prompt, with an evaluator of the same backbone.

    Metrics: those of the columns that the task's metric comes with, in points. Writes `statistics.json` ({"columns",
    "rows"}: one row per example, for the paired bootstrap) and `predictions.jsonl`. The details say how many texts
    reached `max_new_tokens` without ending, and how many prompts were cut. Raises InputError for missing inputs,
    adapters that do not fit and faulty data.
    """
    spec = call.spec
    assert isinstance(spec, EvaluationSpec)
    if warm.model.ref != spec.backbone:
        got = f"{warm.model.ref.name}, needed: {spec.backbone.name}"
        raise InputError(Fault("the evaluator holds another backbone", call.name, got))
    evaluation = EvaluationSet(spec.task, spec.data, spec.split, spec.max_length, spec.mask_probability)
    score = warm.evaluate(evaluation, stack_of(call, spec), lambda values: progress(call.name, values))
    sums = score.statistics.sum(axis=0)
    metrics = {name: float(metric_over(name, score.columns)(sums)) for name in score.columns if name != EXAMPLES}
    _write(call, score)
    progress(call.name, metrics)
    return JobResult(metrics, details={"examples": len(score.statistics), **score.details})


def _write(call: JobCall, score: LanguageScore) -> None:
    rows = np.round(score.statistics, 6).tolist()
    document = {"columns": score.columns, "rows": rows}
    (call.output / STATISTICS).write_text(json.dumps(document) + "\n", encoding="utf-8")
    with (call.output / PREDICTIONS).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in score.predictions)
