"""What weights by part gained over one lambda for all parts of the adapters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobs.adapters.parts import PARTS
from orchestrator.results.comparisons import Result
from orchestrator.results.inputs import ReportInputs
from orchestrator.results.searches import Gain
from search_spaces.mixtures.candidates import REST


@dataclass(frozen=True, slots=True)
class Freedom:
    """One comparison's two choices: `single`, the best lambda for all, and `lambdas` by part, `rest` among them.

    `lambdas` is empty where no weights by part were better. `validation`: their gain, positive is better, and `error`,
    its standard error over examples; nan where that is not known. It flatters, as the freer space has more to choose
    from. `test`: the gain on test data; None while it is not scored.
    """

    result: Result
    single: float
    lambdas: Mapping[str, float]
    validation: float
    error: float
    test: Gain | None

    @property
    def on_test(self) -> str:
        """`better` or `worse` where the interval on test data excludes zero, else `unsure`; `same` for one choice."""
        if not self.lambdas:
            return "same"
        if self.test is None or self.test.fault or not self.test.excludes_zero:
            return "unsure"
        return "better" if self.test.low > 0 else "worse"


def freedoms(inputs: ReportInputs, results: Sequence[Result]) -> tuple[Freedom, ...]:
    """One for each comparison that was searched by parts and is finished, in the campaign's order."""
    found = []
    for result in results:
        record = inputs.records.get(result.comparison.search)
        if record is None or "by_part" not in record.details:
            continue
        single, winner = record.details["by_part"], record.details["winner"]
        error = math.nan if single["error"] is None else float(single["error"])
        about = (float(single["lambda"]), _in_order(winner.get("lambdas", {})), float(single["gain"]), error)
        found.append(Freedom(result, *about, result.gain("single")))
    return tuple(found)


def _in_order(lambdas: Mapping[str, float]) -> dict[str, float]:
    """The rest first, then the parts from the bottom of the model up; records sort their keys."""
    places = {part: place for place, part in enumerate((REST, *PARTS))}
    return dict(sorted(lambdas.items(), key=lambda one: (places.get(one[0], len(places)), one[0])))
