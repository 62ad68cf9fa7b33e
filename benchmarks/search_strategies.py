"""How many evaluations each strategy needs on recorded score surfaces, without a forward pass."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jobs.metrics import f1, mlm_loss
from jobs.spec import Mixture, SearchSpace, StrategySpec
from search_spaces.strategies.strategy import MODEL_BASED, Observation, Trial, make_strategy

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
        statistics = self.statistics[self.places[tuple(sorted(kept))]]
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


def trace(surface: Surface, space: SearchSpace, spec: StrategySpec, budget: float) -> list[tuple[float, float]]:
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
