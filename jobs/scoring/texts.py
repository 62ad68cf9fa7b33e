"""Generated texts against gold answers: the points of every example, from which every score is a mean.

Only what the model wrote is given here. Points go from 0 to 100 for every metric; nothing is divided by the length
of a text afterwards.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

import numpy as np

from jobs.errors import Fault, InputError
from jobs.scoring import squad
from jobs.scoring.chrf import chrf_counts
from jobs.scoring.metrics import EXAMPLES, Statistics
from jobs.scoring.numbers import number_match
from jobs.scoring.rouge import Tokens, rouge
from jobs.spec import TaskRef, metric_of

# (prediction, gold answers of which the best counts) -> points by metric, or counts by `CHRF_COLUMNS`.
Points = Callable[[str, Sequence[str]], dict[str, float]]


def until_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """What stands before the first of `stop` in `text`, and whether there is one.

    White space at the beginning does not count: an answer that begins on a new line is not cut to nothing.
    """
    begun = text.lstrip()
    places = [place for one in stop if (place := begun.find(one)) >= 0]
    return (begun[: min(places)], True) if places else (text, False)


def exact_match(prediction: str, answers: Sequence[str]) -> dict[str, float]:
    """100 when the prediction is one of the answers, apart from Unicode form (NFC) and white space."""
    return {"exact_match": 100.0 * (_plain(prediction) in map(_plain, answers))}


def last_number_match(prediction: str, answers: Sequence[str]) -> dict[str, float]:
    """100 when the prediction's last number is the number of an answer; see `jobs.scoring.numbers`."""
    return {"number_match": 100.0 * any(number_match(prediction, answer) for answer in answers)}


def points_of(task: TaskRef, language: str, tokens: Tokens) -> Points:
    """How one prediction is scored for the task's metric; what is found on the way is returned too, e.g. all of ROUGE.

    `tokens`: the units of ROUGE, unused by the others. Answers to questions are compared by the SQuAD rules
    (`task.answer_rules`); other generated texts are compared by them for "f1" alone. Raises KeyError for a metric that
    scores no text.
    """
    metric = metric_of(task)[0]
    if metric in ("rouge1", "rouge2", "rougeL"):
        return lambda prediction, answers: rouge(prediction, answers, tokens)
    if task.kind == "qa" or metric == "f1":
        return lambda prediction, answers: {
            "f1": 100.0 * squad.answer_f1(prediction, answers, language, task.answer_rules),
            "exact_match": 100.0 * squad.exact_match(prediction, answers, language, task.answer_rules),
        }
    return {"exact_match": exact_match, "number_match": last_number_match, "chrf": chrf_counts}[metric]


def score_texts(
    predictions: Sequence[str], answers: Sequence[Sequence[str]], points: Points
) -> tuple[tuple[str, ...], Statistics]:
    """Columns ("examples", metric, ...) and statistics [examples, columns]; see `jobs.scoring.metrics.metric_over`.

    Raises InputError when there is not one prediction an example, or an example has no answer.
    """
    if len(predictions) != len(answers) or not answers:
        raise InputError(Fault("not one prediction an example", got=f"{len(predictions)} for {len(answers)}"))
    without = [str(number) for number, own in enumerate(answers) if not own]
    if without:
        raise InputError(Fault("examples without an answer", "counted from 0", ", ".join(without[:10])))
    scored = [points(prediction, own) for prediction, own in zip(predictions, answers, strict=True)]
    columns = tuple(scored[0])
    rows = np.array([[1.0, *(one[name] for name in columns)] for one in scored], dtype=np.float64)
    return (EXAMPLES, *columns), rows


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())
