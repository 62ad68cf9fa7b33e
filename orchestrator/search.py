"""A search step: every candidate of the space on validation data, finished trials kept, the best mean wins."""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jobs.job import JobCall, JobResult, Progress
from jobs.spec import Mixture, SearchSpec, metric_of
from search_spaces.weights import Candidate, candidates

WINNER_FILE = "winner.json"
Scores = Mapping[int, float]  # seed -> validation score
Score = Callable[[Candidate], Scores]


class TrialLog:
    """Finished trials of one search, one JSON line each, so that a killed driver repeats none of them."""

    def __init__(self, checkpoint: Path) -> None:
        """Read what an earlier try left; a torn last line counts as not there."""
        self._file = checkpoint / "trials.jsonl"
        self.scores: dict[str, dict[int, float]] = dict(_read_trials(self._file))
        self._torn = self._file.is_file() and not self._file.read_bytes().endswith(b"\n")

    def add(self, candidate: Candidate, scores: Scores) -> None:
        """Append one finished trial and flush it to disk."""
        key = trial_key(candidate)
        self.scores[key] = dict(scores)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(
                "\n" * self._torn + json.dumps({"trial": key, "scores": {str(s): v for s, v in scores.items()}}) + "\n"
            )
            stream.flush()
            os.fsync(stream.fileno())
        self._torn = False

    def missing(self, spec: SearchSpec) -> list[Candidate]:
        """Candidates without a finished trial, in the space's order."""
        return [c for c in candidates(spec.space) if trial_key(c) not in self.scores]


def trial_key(candidate: Candidate) -> str:
    """The mixture as canonical JSON: equal mixtures are one trial. Of task arithmetic, the weights alone."""
    mixture = candidate.mixture
    named = (
        {**candidate.weights} if mixture.method == "task_arithmetic" and not mixture.options else mixture_json(mixture)
    )
    return json.dumps(named, sort_keys=True)


def mixture_json(mixture: Mixture) -> dict[str, Any]:
    """A mixture as winner.json and records have it; the rule only where it is not task arithmetic."""
    rule = {"method": mixture.method} if mixture.method != "task_arithmetic" else {}
    options = {"options": dict(mixture.options)} if mixture.options else {}
    return {"weights": dict(mixture.weights), **rule, **options}


def run_search(call: JobCall, score: Score, progress: Progress) -> JobResult:
    """Score the candidates one after another; go on where an earlier try stopped."""
    spec = call.spec
    assert isinstance(spec, SearchSpec)
    log = TrialLog(call.checkpoint)
    for candidate in log.missing(spec):
        log.add(candidate, score(candidate))
        progress(call.name, search_progress(spec, log))
    return conclude(call, log)


def search_progress(spec: SearchSpec, log: TrialLog) -> dict[str, float]:
    """Trials done, trials in all, and the best mean so far."""
    means = [statistics.fmean(scores.values()) for scores in log.scores.values()]
    _, mode = metric_of(spec.task)
    best = (max if mode == "max" else min)(means) if means else float("nan")
    return {"trial": len(means), "of": sum(1 for _ in candidates(spec.space)), "best": best}


def conclude(call: JobCall, log: TrialLog) -> JobResult:
    """Choose the winner and write `winner.json`.

    The best mean over seeds; ties go to lambda nearest 0.5, then to the earlier pair: a mixture that is no
    better than another is not preferred for being extreme. Raises ArithmeticError for a score that is no number.
    """
    spec = call.spec
    assert isinstance(spec, SearchSpec)
    rows = [_row(candidate, log.scores[trial_key(candidate)]) for candidate in candidates(spec.space)]
    unusable = [trial_key(c) for c in candidates(spec.space) if not _finite(log.scores[trial_key(c)])]
    if unusable:
        raise ArithmeticError(
            f"no finite score for {', '.join(unusable[:5])} ({len(unusable)} of {len(rows)} candidates)"
        )
    metric, mode = metric_of(spec.task)
    sign = -1.0 if mode == "max" else 1.0
    order: dict[tuple[str, ...], int] = {}
    for row in rows:
        order.setdefault(tuple(row["pair"]), len(order))
    winner = min(rows, key=lambda r: (sign * r["mean"], abs(r["lambda"] - 0.5), order[tuple(r["pair"])], r["lambda"]))
    (call.output / WINNER_FILE).write_text(json.dumps(winner, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return JobResult(
        metrics={f"validation_{metric}": winner["mean"]},
        details={"candidates": rows, "winner": winner, "evaluations": len(rows), "metric": metric, "mode": mode},
    )


def _finite(scores: Scores) -> bool:
    return all(map(math.isfinite, scores.values()))


def _row(candidate: Candidate, scores: Mapping[int, float]) -> dict[str, Any]:
    return {
        **mixture_json(candidate.mixture),
        "pair": list(candidate.pair),
        "lambda": candidate.lambda_,
        "scores": {str(seed): value for seed, value in sorted(scores.items())},
        "mean": statistics.fmean(scores.values()),
    }


def _read_trials(file: Path) -> Iterator[tuple[str, dict[int, float]]]:
    if not file.is_file():
        return
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            trial = json.loads(line)
        except ValueError:
            continue  # the line that a kill tore; its trial is run again
        yield trial["trial"], {int(seed): value for seed, value in trial["scores"].items()}
