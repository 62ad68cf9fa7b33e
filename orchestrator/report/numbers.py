"""The tables' numbers as JSON, for whoever computes further with them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from orchestrator.results.comparisons import Result
from orchestrator.results.inputs import ReportInputs
from orchestrator.results.searches import Gain


def numbers(inputs: ReportInputs, results: Sequence[Result]) -> str:
    """results.json: of each comparison its systems' test scores by seed, the weights that won, and the gains.

    Scores are in the metric's own unit; gains are positive where arithmetic is better, whatever the metric's direction.
    What there is not yet, or cannot be, is null.
    """
    document = {
        "campaign": inputs.campaign,
        "backbone": inputs.backbone_name,
        "steps": len(inputs.steps),
        "missing": len(inputs.missing),
        "notes": list(inputs.notes),
        "comparisons": [_comparison(result) for result in results],
    }
    return json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _comparison(result: Result) -> dict[str, Any]:
    asked, search = result.comparison, result.search
    return {
        "name": asked.name,
        "kind": asked.kind,
        "target": asked.target,
        "task": asked.task,
        "metric": asked.metric,
        "better": "higher" if asked.mode == "max" else "lower",
        "better_proxy": result.better_proxy or None,
        "weights": {code: weight for code, weight in search.winner_weights if weight} if search else None,
        **({"lambda_by_part": dict(search.lambdas)} if search and search.lambdas else {}),
        "validation": _known(search.winner_mean) if search else None,
        "chosen_by": asked.judged[0] if search and not asked.is_joint else None,
        "systems": [
            {
                "name": one.name,
                "label": one.label,
                "role": one.role,
                "languages": list(one.languages),
                "mean": _known(one.mean),
                "by_seed": {str(seed): value for seed, value in one.scores},
            }
            for one in result.systems
        ],
        "gains": [_gain(gain) for gain in result.gains],
    }


def _gain(gain: Gain) -> dict[str, Any]:
    return {
        "over": gain.over,
        "value": _known(gain.value),
        "interval": _interval(gain.low, gain.high),
        "interval_over_seeds": _interval(gain.seeds_low, gain.seeds_high),
        "p": _known(gain.p),
        "seeds": gain.seeds,
        "contexts" if gain.grouped else "examples": gain.units,
        "differing": gain.differing,
        "fault": gain.fault or None,
    }


def _interval(low: float, high: float) -> list[float] | None:
    return None if math.isnan(low) or math.isnan(high) else [low, high]


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
