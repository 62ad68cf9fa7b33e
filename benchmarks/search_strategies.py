"""How many evaluations each strategy needs on recorded score surfaces, without a forward pass."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jobs.scoring.metrics import f1, mlm_loss
from jobs.spec import (
    BackboneRef,
    DataRef,
    JobCall,
    Mixture,
    MixtureSpace,
    SearchSpace,
    SearchSpec,
    SimplexSpace,
    StrategySpec,
    TaskRef,
    TrialScores,
)
from orchestrator.search.score_cache import ScoreCache
from orchestrator.search.session import Session
from search_spaces.mixtures.candidates import pair_candidate
from search_spaces.strategies.factory import make_strategy
from search_spaces.strategies.strategy import MODEL_BASED, Observation, Trial

SURFACES = Path(__file__).parent / "surfaces"
METRICS = {"f1": f1, "mlm_loss": mlm_loss}


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """Recorded validation statistics: [mixtures, seeds, blocks, columns]; see search_surfaces.py."""

    name: str
    facts: Mapping[str, Any]
    weights: np.ndarray
    statistics: np.ndarray
    places: Mapping[tuple[tuple[str, float], ...], int]

    @property
    def sign(self) -> float:
        """1 where more is better."""
        return 1.0 if self.facts["metric"] == "f1" else -1.0

    def observation(self, trial: Trial) -> Observation:
        """What a worker would have scored: mean over seeds on the first part of the examples."""
        kept = [(key, round(weight, 4)) for key, weight in trial.candidate.mixture.weights if weight > 1e-6]
        statistics = self.statistics[self.positions[tuple(sorted(kept))]]
        parts = statistics[:, : max(1, round(trial.share * statistics.shape[1]))]
        metric, total = METRICS[self.facts["metric"]], parts.sum(axis=1)
        value = self.sign * float(metric(total).mean())
        folds = self.sign * metric(total[:, None] - parts).mean(axis=0)
        return Observation(trial, value, tuple(folds.tolist()))

    def values(self) -> np.ndarray:
        """Value of every mixture on the whole set, higher is better."""
        return self.sign * METRICS[self.facts["metric"]](self.statistics.sum(axis=2)).mean(axis=1)


def load_surface(file: Path) -> Surface:
    """A recorded surface."""
    stored = np.load(file)
    facts = json.loads(str(stored["facts"]))
    weights = stored["weights"]
    places = {}
    for number, row in enumerate(weights):
        kept = [(key, round(float(weight), 4)) for key, weight in zip(facts["pool"], row, strict=True) if weight > 1e-6]
        places[tuple(sorted(kept))] = number
    return Surface(file.stem, facts, weights, stored["statistics"].astype(np.float64), places)


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """The lambda curves of one search of the quickstart, all of whose candidates were scored."""

    name: str
    sign: float
    space: MixtureSpace
    table: Mapping[Mixture, float]

    def observation(self, trial: Trial) -> Observation:
        """The recorded mean."""
        return Observation(trial, self.table[trial.candidate.mixture])


def load_curves() -> list[Curves]:
    """Every search of the quickstart that was recorded."""
    found = []
    for entry in json.loads((SURFACES / "lines.json").read_text(encoding="utf-8")):
        sign = 1.0 if entry["mode"] == "max" else -1.0
        space = MixtureSpace(tuple(map(tuple, entry["pairs"])), tuple(entry["lambdas"]))
        table = {
            pair_candidate(pair, value).mixture: sign * mean
            for pair, means in zip(space.pairs, entry["means"], strict=True)
            for value, mean in zip(space.lambdas, means, strict=True)
        }
        found.append(Curves(f"{entry['target']}/{entry['task']}", sign, space, table))
    return found


# How near to the best counts as there: F1 points, or nats where a loss is searched.
NEAR_LINE = {1.0: 0.1, -1.0: 0.01}
NEAR_SUBSET = {1.0: 0.3, -1.0: 0.01}


def lines(gp: int) -> dict[str, Any]:
    """One-dimensional searches: the share of the grid that each strategy needs. `gp`: runs of Gaussian processes."""
    rows = []
    for curves in load_curves():
        best, count = max(curves.table.values()), len(curves.table)
        for name, seeds in (("grid", 1), ("coarse", 1), ("tpe", 5), ("gp", gp)):
            needed: list[float | None] = []
            for seed in range(seeds):
                curve = trace(curves, curves.space, StrategySpec(name, evaluations=count, seed=seed), count)
                needed.append(first_within(curve, best - NEAR_LINE[curves.sign]))
            rows.append({"search": curves.name, "grid": count, "strategy": name, "needed": needed})
    return {"near": "0.1 F1, 0.01 nat", "aim": "a quarter of the grid", "rows": rows, "summary": summary(rows, "grid")}


def subsets(gp: int) -> dict[str, Any]:
    """Mixtures of subsets of eight languages in steps of 0.2, against all 792 of them."""
    rows = []
    for file in sorted(SURFACES.glob("*.npz")):
        surface = load_surface(file)
        space = SimplexSpace(tuple(surface.facts["pool"]), 0.2)
        grid = [number for number, row in enumerate(surface.weights) if np.allclose(row * 5, np.round(row * 5))]
        best = float(surface.values()[grid].max())
        for name, seeds in (("greedy", 1), ("halving", 5), ("tpe", 5), ("cma", 5), ("gp", gp)):
            needed: list[float | None] = []
            gaps = []
            for seed in range(seeds):
                curve = trace(surface, space, StrategySpec(name, evaluations=60, seed=seed), 60)
                needed.append(first_within(curve, best - NEAR_SUBSET[surface.sign]))
                gaps.append(round(best - curve[-1][1], 4))
            rows.append(
                {"search": surface.name, "grid": len(grid), "strategy": name, "needed": needed, "gap at the end": gaps}
            )
    return {"near": "0.3 F1, 0.01 nat", "aim": "5 % of the subsets", "rows": rows, "summary": summary(rows, "grid")}


def overhead() -> dict[str, float]:
    """Milliseconds of a trial beside its score, at 1,000 trials: asking, log on disk, score cache; without Ray."""
    found = {}
    line = MixtureSpace((("en", "es"),), tuple(number / 999 for number in range(1000)))
    for name, space in (("grid", line), ("tpe", SimplexSpace(("en", "es", "pt", "fr")))):
        task, data = TaskRef("ner", "ner", ("O",)), DataRef("text", "gl", "0")
        spec = SearchSpec("gl", task, data, BackboneRef("b", "0"), space, (1,), 16, strategy=StrategySpec(name, 1000))
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            roles = {f"language:{key}@1": place / key for key in ("en", "es", "pt", "fr")}
            for own in roles.values():
                own.mkdir()
                (own / "adapter.safetensors").write_text(own.name)
            call = JobCall("search", spec, roles, place, place / "checkpoint", place / "cache")
            started = time.perf_counter()
            session, count = Session(call, ScoreCache(place / "scores")), 0
            while (trial := session.ask()) is not None:
                session.tell(trial, TrialScores({1: float(count % 7)}, {1: (0.0,) * 20}, 0.0))
                count += 1
            found[f"{name}, ms"] = round(1000 * (time.perf_counter() - started) / count, 3)
    return found


def first_within(curve: list[tuple[float, float]], wanted: float) -> float | None:
    """Evaluations spent when the best first was good enough; None when it never was."""
    return next((round(spent, 2) for spent, best in curve if best >= wanted - 1e-9), None)


def summary(rows: list[dict[str, Any]], total: str) -> dict[str, Any]:
    """Per strategy: runs that got there, and the share of all candidates that the median and the worst run needed."""
    found = {}
    for name in dict.fromkeys(row["strategy"] for row in rows if row["needed"]):
        shares = [n / row[total] if n is not None else float("inf") for row in rows if row["strategy"] == name
                  for n in row["needed"]]  # fmt: skip
        there = [share for share in shares if share != float("inf")]
        median = sorted(shares)[len(shares) // 2]
        found[name] = {
            "runs": len(shares),
            "reached": len(there),
            "median share": round(median, 4) if median != float("inf") else None,
            "worst share of those that reached it": round(max(there), 4) if there else None,
        }
    return found


def trace(
    surface: Surface | Curves, space: SearchSpace, spec: StrategySpec, budget: float
) -> list[tuple[float, float]]:
    """(evaluations spent, best value on the whole set) after each trial, in the order that a session gives them."""
    strategy, asked, told, spent, best = make_strategy(space, spec), [], 0, 0.0, -np.inf
    seen: dict[tuple[Mixture, float], Observation] = {}
    curve, repeats = [], 0
    while spent < budget and repeats < 100:
        behind = len(asked) - told
        trial = None
        if not (spec.name in MODEL_BASED and behind >= spec.ahead):
            trial = strategy.ask()
        if trial is None:
            if not behind:
                break
            strategy.tell(seen[asked[told].candidate.mixture, asked[told].share])
            told += 1
            continue
        asked.append(trial)
        key = (trial.candidate.mixture, trial.share)
        if key in seen:
            repeats += 1
            seen[key] = Observation(trial, seen[key].value, seen[key].folds)
            continue
        repeats = 0
        seen[key] = surface.observation(trial)
        spent += trial.share
        if trial.share == 1.0:
            best = max(best, seen[key].value)
        curve.append((spent, best))
    return curve
