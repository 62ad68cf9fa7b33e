"""What choosing by text costs against choosing by labels, where both searches were made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.results.comparisons import Result
from orchestrator.results.inputs import ReportInputs
from orchestrator.results.searches import Gain

_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Regret:
    """One comparison's two choices, as weights. Regrets are positive where the choice by labels is better.

    `validation`: by the task's metric on labelled validation data, where the choice by labels is the best there is;
    `place`: of the choice by text among the `candidates` there, 1 for the best. Nan and 0 where that search never
    scored it. `test`: the gain of arithmetic over the other choice, see `Gain`; `by_text`: whether arithmetic is the
    choice by text, so that the regret is that gain's negative. None while it is not scored.
    """

    result: Result
    text: Mapping[str, float]
    labels: Mapping[str, float]
    validation: float
    place: int
    candidates: int
    test: Gain | None
    by_text: bool

    @property
    def on_test(self) -> tuple[float, float, float]:
        """The regret on test data with its 95 % interval; nan while it is not known."""
        if self.test is None:
            return math.nan, math.nan, math.nan
        gain = self.test
        return (-gain.value, -gain.high, -gain.low) if self.by_text else (gain.value, gain.low, gain.high)


def regrets(inputs: ReportInputs, results: Sequence[Result]) -> tuple[Regret, ...]:
    """One for each comparison with both searches finished, in the campaign's order."""
    found = []
    for result in results:
        records = {judge: inputs.records.get(key) for judge, key in result.comparison.judges.items()}
        text, labels = records.get("text"), records.get("labels")
        if text is None or labels is None:
            continue
        chosen, best = text.details["winner"], labels.details["winner"]
        sign = 1 if result.comparison.mode == "max" else -1
        rows = labels.details["candidates"]
        means = [sign * float(row["mean"]) for row in rows]
        own = next((mean for row, mean in zip(rows, means, strict=True) if _same(row, chosen)), math.nan)
        place = 0 if math.isnan(own) else 1 + sum(mean > own + _SAME for mean in means)
        by_text = next(iter(result.comparison.judges)) == "text"
        lost = sign * float(best["mean"]) - own
        weights = (_used(chosen), _used(best))
        found.append(Regret(result, *weights, lost, place, len(rows), result.gain("judged"), by_text))
    return tuple(found)


def _used(row: Mapping[str, Any]) -> dict[str, float]:
    return {key: weight for key, weight in sorted(row["weights"].items()) if abs(weight) > _SAME}


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two rows are one candidate: the rule, its options, and the weights of adapters that act."""
    rules = [(row.get("method", ""), row.get("options", {}), row.get("parts", {})) for row in (one, other)]
    left, right = _used(one), _used(other)
    return rules[0] == rules[1] and left.keys() == right.keys() and all(abs(left[k] - right[k]) < _SAME for k in left)
