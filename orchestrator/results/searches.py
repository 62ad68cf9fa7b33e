"""What a search found, on validation data: its curves, its winner, and how flat the optimum is."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean, stdev
from typing import Any

from jobs.spec import mixture_role
from orchestrator.plan.index import Comparison
from orchestrator.results.inputs import ReportInputs
from orchestrator.store.record import Record

DEFAULT_LAMBDA = 0.5


@dataclass(frozen=True, slots=True)
class Gain:
    """What arithmetic gains over one system: positive is better whatever the metric's direction.

    `low` and `high`: 95 % interval over test examples, pooled over `seeds`; nan where `fault` says why. `p`: two-sided,
    before any correction for many comparisons. `seeds_low` and `seeds_high`: interval over seeds and examples; nan with
    one seed. `units`: what was drawn, examples or, where `grouped`, contexts; `differing`: on how many of them the
    systems differ. See docs/statistics.md.
    """

    over: str
    label: str
    role: str
    value: float
    low: float
    high: float
    seeds: int
    fault: str = ""
    p: float = math.nan
    seeds_low: float = math.nan
    seeds_high: float = math.nan
    units: int = 0
    differing: int = 0
    grouped: bool = False

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class LambdaCurve:
    """Validation scores of one pair or line: `mean` and `deviation` over seeds for each lambda, in rising order.

    `weighs_first`: whether lambda is the weight of the pair's first adapter, not TIES' scale or AdaMergeX's t.
    """

    pair: tuple[str, ...]
    lambdas: tuple[float, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    weighs_first: bool = True


@dataclass(frozen=True, slots=True)
class FoldChoice:
    """A choice by folds: each fold's mixture and lambda (nan off one line), with its score on the examples left out.

    `score`: their mean, which tells what the way of choosing is worth. `spread`: the lambdas' standard deviation.
    """

    mixtures: tuple[tuple[tuple[str, float], ...], ...]
    lambdas: tuple[float, ...]
    held_out: tuple[float, ...]
    score: float
    spread: float


@dataclass(frozen=True, slots=True)
class Search:
    """A finished search on validation data. `found_at`: the evaluation (from 1) that first saw the winner. `seconds`:
    of scoring, all workers and runs together, without waiting.

    `winner_pair`, `winner_lambda`: where on its line the winner lies; of one with weights by part, the best with one
    lambda. `line_mean`: the score there. `lambdas`: by part, where the winner has such.
    """

    key: str
    winner_pair: tuple[str, ...]
    winner_lambda: float
    winner_mean: float
    winner_weights: tuple[tuple[str, float], ...]
    evaluations: int
    found_at: int
    examples: int
    seconds: float
    curves: tuple[LambdaCurve, ...]
    best_so_far: tuple[float, ...] = ()
    strategy: str = "grid"
    spent: float = math.nan
    hits: int = 0
    space: int | None = None
    constant: bool = False
    folds: FoldChoice | None = None
    line_mean: float = math.nan
    lambdas: tuple[tuple[str, float], ...] = ()

    @property
    def on_line(self) -> bool:
        """Whether the winner is a point of a line of lambdas."""
        return not math.isnan(self.winner_lambda)


@dataclass(frozen=True, slots=True)
class Flatness:
    """How much the search was worth against lambda 0.5 of the winner's pair; gains positive is better.

    Off the lines, against the equal mixture or the first start. `spread`: standard error of the validation gain: over
    seeds, with one seed paired over examples; nan where neither is known. `plateau`: lowest and highest lambda around
    the winner whose validation mean is within `tolerance` of the best; nan off the lines.
    """

    validation_gain: float
    spread: float
    test: Gain | None
    plateau: tuple[float, float]
    tolerance: float

    @property
    def flat(self) -> bool:
        """Whether the search gained less than its own uncertainty: on test data where measured, else over seeds."""
        if self.test is not None and not self.test.fault:
            return not self.test.low > 0
        return not self.validation_gain > (0.0 if math.isnan(self.spread) else self.spread)


def read_search(inputs: ReportInputs, comparison: Comparison) -> Search | None:
    """The comparison's search, or None while it is not finished."""
    record = inputs.records.get(comparison.search)
    if record is None:
        return None
    winner = _seen(record.details["winner"], comparison)
    return search_of(record, comparison.judged[1], seen_rows(record, comparison), winner)


def seen_rows(record: Record, comparison: Comparison) -> list[dict[str, Any]]:
    """The search's candidates with the scores that count for the comparison: of a joint search, its objective's."""
    return [_seen(row, comparison) for row in record.details["candidates"]]


def _seen(row: dict[str, Any], comparison: Comparison) -> dict[str, Any]:
    objectives = row.get("objectives")
    return row if objectives is None else {**row, **objectives[f"{comparison.task}/{comparison.target}"]}


def search_of(record: Record, mode: str, candidates: list[dict[str, Any]], winner: dict[str, Any]) -> Search:
    """A finished search by the scores of these rows."""
    better: Callable[[float, float], bool] = operator.gt if mode == "max" else operator.lt
    best, so_far = 0, []
    for at, candidate in enumerate(candidates):
        best = at if better(candidate["mean"], candidates[best]["mean"]) else best
        so_far.append(float(candidates[best]["mean"]))
    cost = record.details.get("cost", {})
    line = record.details.get("by_part", winner)
    return Search(
        key=record.key,
        winner_pair=_pair(line),
        winner_lambda=float(line.get("lambda", math.nan)),
        line_mean=float(line["mean"]),
        lambdas=tuple(winner.get("lambdas", {}).items()),
        winner_mean=float(winner["mean"]),
        winner_weights=tuple(sorted(winner["weights"].items())),
        evaluations=int(record.details.get("evaluations", len(candidates))),
        found_at=best + 1,
        examples=int(record.details.get("examples", 0)),
        seconds=float(cost.get("seconds", record.provenance.get("seconds", 0.0))),
        curves=_curves(candidates),
        best_so_far=tuple(so_far),
        strategy=cost.get("strategy", "grid"),
        spent=float(cost.get("spent", len(candidates))),
        hits=int(cost.get("hits", 0)),
        space=cost.get("space"),
        constant=bool(record.details.get("constant", False)),
        folds=_fold_choice(record.details.get("folds")),
    )


def _fold_choice(details: Mapping[str, Any] | None) -> FoldChoice | None:
    if details is None:
        return None
    choices, spread = details["choices"], details["spread"]
    return FoldChoice(
        mixtures=tuple(tuple(sorted(one["weights"].items())) for one in choices),
        lambdas=tuple(float(one.get("lambda", math.nan)) for one in choices),
        held_out=tuple(float(one["held_out"]) for one in choices),
        score=float(details["score"]),
        spread=math.nan if spread is None else float(spread),
    )


def _curves(candidates: list[dict[str, Any]]) -> tuple[LambdaCurve, ...]:
    ordered = sorted((c for c in candidates if "lambda" in c), key=lambda c: (_pair(c), c["lambda"]))
    curves = []
    for pair, group in groupby(ordered, key=_pair):
        points = list(group)
        spreads = [list(point["scores"].values()) for point in points]
        if len(points) == 1:
            continue  # an adapter alone, or a method without lambda
        curves.append(
            LambdaCurve(
                pair,
                tuple(float(point["lambda"]) for point in points),
                tuple(float(point["mean"]) for point in points),
                tuple(stdev(scores) if len(scores) > 1 else 0.0 for scores in spreads),
                all(abs(point["weights"].get(pair[0], 0.0) - point["lambda"]) < 1e-9 for point in points),
            )
        )
    return tuple(curves)


def alone_scores(inputs: ReportInputs, comparison: Comparison) -> dict[str, float]:
    """Validation mean of each language's adapter alone: the candidates that put all weight on one language.

    A search that tries none, such as that of TIES, has them from the section's other methods, of the same adapters.
    """
    record = inputs.records.get(comparison.search)
    if record is None:
        return {}
    alone: dict[str, float] = {}
    for other in (comparison, *_siblings(inputs, comparison)):
        found = inputs.records.get(other.search)
        for candidate in seen_rows(found, other) if found else ():
            if candidate.get("method", "linear") not in ("linear", "task_arithmetic") or "parts" in candidate:
                continue  # one adapter by TIES or DARE is not the adapter as it is
            used = [code for code, weight in candidate["weights"].items() if abs(weight) > 1e-9]
            if len(used) == 1 and abs(candidate["weights"][used[0]] - 1) < 1e-9:
                roles = [mixture_role(used[0], seed) for seed in comparison.seeds]
                if found and all(found.inputs.get(role) == record.inputs.get(role) for role in roles):
                    alone.setdefault(used[0], float(candidate["mean"]))
    return alone


def _siblings(inputs: ReportInputs, comparison: Comparison) -> tuple[Comparison, ...]:
    place = (comparison.section, comparison.target, comparison.task)
    others = [one for one in inputs.comparisons if (one.section, one.target, one.task) == place]
    return tuple(one for one in others if one.section and one.search != comparison.search)


def read_flatness(
    inputs: ReportInputs, comparison: Comparison, search: Search, gains: tuple[Gain, ...]
) -> Flatness | None:
    """The winner against lambda 0.5 of its pair; None when that was never scored. `gains`: those on test data.

    None for an objective of a joint search too, whose winner was not chosen for it alone.
    """
    details = inputs.records[comparison.search].details
    if comparison.is_joint:
        return None
    default = details.get("default", {})
    paired = float("nan" if default.get("error") is None else default["error"])
    if not search.on_line:
        nowhere = (math.nan, math.nan)
        return Flatness(float(default["gain"]), paired, None, nowhere, 0.0) if default else None
    ours = [c for c in details["candidates"] if "lambda" in c and _pair(c) == search.winner_pair]
    middle = next((c for c in ours if abs(c["lambda"] - DEFAULT_LAMBDA) < 1e-9), None)
    winner = next((c for c in ours if abs(c["lambda"] - search.winner_lambda) < 1e-9), None)
    if middle is None or winner is None:
        return None
    sign = 1 if comparison.judged[1] == "max" else -1
    seeds = winner["scores"].keys() & middle["scores"].keys()
    differences = [sign * (winner["scores"][seed] - middle["scores"][seed]) for seed in sorted(seeds)]
    spread = stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else paired
    curve = next((curve for curve in search.curves if curve.pair == search.winner_pair), None)
    if curve is None:
        return None
    tolerance = max(spread if not math.isnan(spread) else 0.0, 0.01 * (max(curve.mean) - min(curve.mean)))
    return Flatness(
        fmean(differences),
        spread,
        None if "by_part" in details else _fixed(inputs, comparison, search, gains),
        _plateau(curve, search.winner_lambda, sign, tolerance),
        tolerance,
    )


def _fixed(inputs: ReportInputs, comparison: Comparison, search: Search, gains: tuple[Gain, ...]) -> Gain | None:
    """The gain over lambda 0.5 of the winner's pair."""
    fixed = (gain for gain in gains if gain.role == "fixed")
    return next((gain for gain in fixed if _same_pair(inputs, gain, comparison, search)), None)


def _same_pair(inputs: ReportInputs, gain: Gain, comparison: Comparison, search: Search) -> bool:
    system = next(system for system in comparison.systems if system.name == gain.over)
    return set(system.languages) == set(search.winner_pair)


def _plateau(curve: LambdaCurve, chosen: float, sign: int, tolerance: float) -> tuple[float, float]:
    at = min(range(len(curve.lambdas)), key=lambda i: abs(curve.lambdas[i] - chosen))
    best = sign * curve.mean[at]

    def near(i: int) -> bool:
        return sign * curve.mean[i] >= best - tolerance - 1e-12

    low = high = at
    while low > 0 and near(low - 1):
        low -= 1
    while high + 1 < len(curve.lambdas) and near(high + 1):
        high += 1
    return curve.lambdas[low], curve.lambdas[high]


def _pair(candidate: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(candidate.get("pair", ()))
