"""Scores and orders -> what each choice is worth: regret, rank correlation and cost, with intervals over targets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
from scipy.stats import spearmanr

DRAWS = 10_000
VALIDATION, TEST = 0, 1
Scores = Mapping[str, Sequence[float]]


def goodness(scores: Mapping[str, Sequence[float | None]], better: str) -> dict[str, list[float]]:
    """Scores of which higher ones are better, whatever the metric; nan for what was not tested."""
    sign = 1.0 if better == "max" else -1.0
    return {
        name: [sign * (math.nan if value is None else value) for value in values] for name, values in scores.items()
    }


def pair_of(names: Iterable[str], one: str, other: str, lambdas: Sequence[float]) -> list[str]:
    """The candidates of one pair, its ends among them, in the order of `names`."""
    wanted = {one, other, *(f"{a}+{b}@{weight:g}" for a, b in ((one, other), (other, one)) for weight in lambdas)}
    return [name for name in names if name in wanted]


def pool_of(names: Iterable[str]) -> list[str]:
    """The languages whose adapters are candidates alone."""
    return [name for name in names if "+" not in name and ":" not in name and name != "mean"]


def to_test(validation: Mapping[str, float], better: str, anchor: str, lambdas: Sequence[float]) -> list[str]:
    """The candidates that a test score is needed of: all but those lambdas of a pair that neither validation data nor
    the lack of them chooses.
    """
    pool = pool_of(validation)
    good = goodness({name: [value] for name, value in validation.items()}, better)
    needed = {name for name in validation if "+" not in name}
    for one, other in combinations(pool, 2):
        pair = pair_of(validation, one, other, lambdas)
        needed.add(max(pair, key=lambda name: good[name][VALIDATION]))
        if anchor in (one, other):
            needed.update(name for name in pair if name.endswith("@0.5"))
    return [name for name in validation if name in needed]


class Target:
    """One target on one task: the best that there is, and what a language is worth."""

    def __init__(self, scores: Scores, better: str, anchor: str, lambdas: Sequence[float]) -> None:
        """`scores`: of every candidate on both splits. `anchor`: the language of the task's training data."""
        self.scores, self.anchor, self.lambdas = goodness(scores, better), anchor, tuple(lambdas)
        self.pool = pool_of(scores)
        self.best_single = max(self.scores[code][TEST] for code in self.pool)
        self.best_pair = max(self.scores[self.by_labels(a, b)][TEST] for a, b in combinations(self.pool, 2))

    def by_labels(self, one: str, other: str) -> str:
        """The candidate of a pair with the best validation score; of equals the first."""
        return max(pair_of(self.scores, one, other, self.lambdas), key=lambda name: self.scores[name][VALIDATION])

    def single(self, code: str) -> float:
        """Regret of a language's adapter against the best adapter."""
        return self.best_single - self.scores[code][TEST]

    def pair(self, code: str) -> float:
        """Regret of the anchor with a language, lambda chosen by labelled validation data, against the best pair."""
        return self.best_pair - self.scores[self.by_labels(self.anchor, code)][TEST]

    def half(self, code: str) -> float:
        """The same at lambda 0.5, which needs no label."""
        pair = pair_of(self.scores, self.anchor, code, self.lambdas)
        return self.best_pair - next(self.scores[name][TEST] for name in pair if name.endswith("@0.5"))

    def whole(self, name: str) -> float:
        """Regret of a mixture of the whole pool, against the best pair."""
        return self.best_pair - self.scores[name][TEST]

    def by_validation(self, codes: Sequence[str]) -> str:
        """The language whose adapter is best by labelled validation data."""
        return max(codes, key=lambda code: self.scores[code][VALIDATION])

    def pair_by_validation(self, codes: Sequence[str]) -> str:
        """The language whose pair with the anchor is."""
        return max(codes, key=lambda code: self.scores[self.by_labels(self.anchor, code)][VALIDATION])

    def rank_correlation(self, order: Sequence[Sequence[Any]]) -> float:
        """Spearman's rho of nearness and test score over the pool; 0 where the order tells no two apart.

        Languages without a place come last, all alike.
        """
        places = {code: float(place) for code, place in order}
        near = [-places.get(code, float(len(self.pool))) for code in self.pool]
        good = [self.scores[code][TEST] for code in self.pool]
        if len(set(near)) < 2 or len(set(good)) < 2:
            return 0.0
        return float(spearmanr(near, good).statistic)


def interval(values: Sequence[float], seed: int = 0) -> list[float]:
    """Mean, and the percentile interval of 95 % over targets."""
    rng, table = np.random.default_rng(seed), np.asarray(values, dtype=float)
    means = table[rng.integers(0, len(table), (DRAWS, len(table)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return [round(float(one), 3) for one in (table.mean(), low, high)]


def rows_of(document: Mapping[str, Any], task: str) -> list[dict[str, Any]]:
    """One row a method, then one a baseline; regrets are in points of F1 or in nats.

    `single`, `pair`: regret of every target.
    """
    settings = document["settings"]
    anchor, lambdas = settings["anchors"][task], settings["lambdas"]
    better = settings["tasks"][task]["better"]
    known = {
        target: Target(document["scores"][f"{task}/{target}"], better, anchor, lambdas)
        for target in settings["targets"]
    }
    rows = [_method(name, known, method) for name, method in document["methods"].items() if method["order"]]
    rows += _baselines(known)
    chance = {kind: next(row for row in rows if row["method"] == "random")[kind] for kind in ("single", "pair")}
    for row in rows:
        for kind, name in (("single", "regret"), ("pair", "pair regret")):
            if kind in row:
                row["targets"] = len(row[kind])
                row[name] = interval(list(row[kind].values()))
                row[f"{name} of random"] = _share(row[kind], chance[kind])
    return rows


def _method(name: str, known: Mapping[str, Target], method: Mapping[str, Any]) -> dict[str, Any]:
    order = {target: places for target, places in method["order"].items() if places}
    ones = {target: known[target] for target in order}
    first = {target: places[0][0] for target, places in order.items()}
    other = {
        target: next(code for code, _ in places if code != ones[target].anchor) for target, places in order.items()
    }
    single = {target: one.single(first[target]) for target, one in ones.items()}
    return {
        "method": name,
        "single": single,
        "best": sum(one <= 1e-9 for one in single.values()),
        "rho": interval([one.rank_correlation(order[target]) for target, one in ones.items()]),
        "pair": {target: one.pair(other[target]) for target, one in ones.items()},
        "at 0.5": interval([one.half(other[target]) for target, one in ones.items()]),
        "labelled": 0,
        "unlabelled": method["unlabelled"],
        "needs": method["needs"],
        "fallbacks": len(method["fallbacks"]),
    }


def _baselines(known: Mapping[str, Target]) -> list[dict[str, Any]]:
    """Random choice (its expectation), always the anchor, labels for every adapter; mixtures of the whole pool."""
    some = next(iter(known.values()))
    mixed = {target: [code for code in one.pool if code != one.anchor] for target, one in known.items()}
    rows: list[dict[str, Any]] = [
        {
            "method": "random",
            "single": {target: fmean(map(one.single, one.pool)) for target, one in known.items()},
            "pair": {target: fmean(map(one.pair, mixed[target])) for target, one in known.items()},
            "at 0.5": interval([fmean(map(one.half, mixed[target])) for target, one in known.items()]),
            "labelled": 0,
        },
        {
            "method": f"always {some.anchor}",
            "single": {target: one.single(one.anchor) for target, one in known.items() if one.anchor in one.pool},
            "labelled": 0,
        },
        {
            "method": "every adapter, by labels",
            "single": {target: one.single(one.by_validation(one.pool)) for target, one in known.items()},
            "labelled": len(some.pool),
        },
        {
            "method": f"every pair with {some.anchor}, by labels",
            "pair": {target: one.pair(one.pair_by_validation(mixed[target])) for target, one in known.items()},
            "labelled": 1 + len(mixed[next(iter(mixed))]) * (len(some.lambdas) + 1),
        },
    ]
    whole = [name for name in some.scores if ":" in name or name == "mean"]
    rows += [
        {
            "method": f"whole pool: {name}",
            "pair": {target: one.whole(name) for target, one in known.items()},
            "labelled": 0,
        }
        for name in whole
    ]
    return [row for row in rows if row.get("single", True)]


def _share(regret: Mapping[str, float], chance: Mapping[str, float]) -> float | None:
    """Of the mean over the same targets."""
    whole = fmean(chance[target] for target in regret)
    return round(fmean(regret.values()) / whole, 3) if whole else None


def summary(tables: Mapping[str, Sequence[Mapping[str, Any]]], kind: str) -> list[dict[str, Any]]:
    """Methods by their regret of one `kind`, single or pair, as a share of random choice's, which makes tasks alike.

    `of random`: the mean over tasks and targets, and its interval over targets. `less than mixed`: what the regret of
    `mixed` is greater, on the same targets. `of mixed`: the quotient of the means.
    """
    shares: dict[str, dict[str, list[float]]] = {}
    for rows in tables.values():
        chance = fmean(next(row for row in rows if row["method"] == "random")[kind].values())
        for row in rows if chance else ():
            for target, regret in row.get(kind, {}).items():
                shares.setdefault(row["method"], {}).setdefault(target, []).append(regret / chance)
    means = {name: {target: fmean(values) for target, values in own.items()} for name, own in shares.items()}
    mixed, found = means.get("mixed", {}), []
    for name, own in sorted(means.items(), key=lambda item: fmean(item[1].values())):
        row: dict[str, Any] = {"method": name, "targets": len(own), "of random": interval(list(own.values()))}
        both = [target for target in own if target in mixed]
        if both and name != "mixed":
            row["less than mixed"] = interval([mixed[target] - own[target] for target in both])
            whole = fmean(mixed[target] for target in both)
            row["of mixed"] = round(fmean(own[target] for target in both) / whole, 3) if whole else None
        found.append(row)
    return found
