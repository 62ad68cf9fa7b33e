"""Scores of a prompted set under whatever adapters are applied: metric, a row for each example, predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobs.evaluation.generation import Watch, generate, unwatched
from jobs.evaluation.prompted_sets import ChoiceSet, TextSet, accuracy_statistics, choice_scores
from jobs.models.language_model import LanguageModel
from jobs.scoring.metrics import Statistics, metric_over
from jobs.scoring.texts import points_of, score_texts
from jobs.spec import TaskRef, metric_of


@dataclass(frozen=True, slots=True, eq=False)
class LanguageScore:
    """`value`: the task's metric. `statistics` [examples, columns]: see `jobs.scoring.metrics.metric_over`.

    `predictions`: one JSON object an example. `details`: what the reader of a score should know beside it.
    """

    value: float
    columns: tuple[str, ...]
    statistics: Statistics
    predictions: list[dict[str, Any]]
    details: dict[str, Any]


def score_prompted(prepared: ChoiceSet | TextSet, model: LanguageModel, watch: Watch = unwatched) -> LanguageScore:
    """Generate every answer, or weigh every choice, and compare with the gold ones. `watch` follows generation."""
    return _written(prepared, model, watch) if isinstance(prepared, TextSet) else _chosen(prepared, model)


def _chosen(prepared: ChoiceSet, model: LanguageModel) -> LanguageScore:
    scores = choice_scores(prepared, model)
    columns, statistics = accuracy_statistics(prepared, scores)
    rows = zip(prepared.gold.tolist(), scores.argmax(axis=1).tolist(), scores.round(4).tolist(), strict=True)
    predictions = [{"gold": gold, "predicted": guess, "log_likelihoods": own} for gold, guess, own in rows]
    details = {"choice_score": prepared.task.choice_score, **_source_details(prepared)}
    return LanguageScore(_value(prepared.task, columns, statistics), columns, statistics, predictions, details)


def _written(prepared: TextSet, model: LanguageModel, watch: Watch) -> LanguageScore:
    task = prepared.task
    written = generate(model, prepared.prompts, task.max_new_tokens, watch)
    points = points_of(task, prepared.language, prepared.tokens)
    columns, statistics = score_texts(written.texts, prepared.answers, points)
    rows = zip(prepared.answers, written.texts, written.unfinished.tolist(), strict=True)
    predictions = [{"answers": gold, "predicted": text, "unfinished": endless} for gold, text, endless in rows]
    details = {
        "unfinished": int(written.unfinished.sum()),
        "max_new_tokens": task.max_new_tokens,
        "new_tokens": written.tokens,
        **_source_details(prepared),
    }
    return LanguageScore(_value(task, columns, statistics), columns, statistics, predictions, details)


def _value(task: TaskRef, columns: tuple[str, ...], statistics: Statistics) -> float:
    return float(metric_over(metric_of(task)[0], columns)(statistics.sum(axis=0)))


def _source_details(prepared: ChoiceSet | TextSet) -> dict[str, Any]:
    source = prepared.source
    return {
        "unknown_share": source.unknown_share,
        "cut_prompts": source.cut_prompts,
        "cut_answers": source.cut_answers,
    }
