"""The report's part on weights by part: what the freedom gained, against its own uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.report.document import Cell, Column, Paragraph, Section, Table, columns, row
from orchestrator.report.sections.results import gain_cell
from orchestrator.report.wording import DASH, comparison_title, counted, score, signed
from orchestrator.results.comparisons import Result
from orchestrator.results.inputs import ReportInputs
from orchestrator.results.parts import Freedom, freedoms

_VERDICTS = {
    "same": "one lambda was as good",
    "better": "yes, beyond its uncertainty",
    "worse": "no, it lost",
    "unsure": "less than its uncertainty",
}


def parts_section(inputs: ReportInputs, results: Sequence[Result]) -> Section | None:
    """A row for each comparison that was searched by parts; None without any."""
    found = freedoms(inputs, results)
    if not found:
        return None
    note = Paragraph(
        "After the best single lambda was found, each part of the adapters got a lambda of its own; rest: what belongs "
        "to no part, or did better with the single one. The gain on validation data, with its standard error over "
        "examples, flatters: the freer space has more to choose from. What counts is the gain on test data, with its "
        "interval.",
        "note",
    )
    numbers = ("One lambda", "Lambda by part", "Gain, validation", "Gain, test")
    titles = (*columns(("Target", "Comparison"), numbers), Column("Was it worth it?", numeric=False))
    table = Table("Weights by part against one lambda", titles, tuple(map(_row, found)))
    return Section("Weights by part", (Paragraph(_told(found), "lead"), note, table))


def _row(one: Freedom) -> tuple[Cell, ...]:
    metric = one.result.comparison.judged[0]
    error = "" if math.isnan(one.error) else f"±{score(metric, one.error)}"
    by_part = ", ".join(f"{part} {value:g}" for part, value in one.lambdas.items())
    mark = {"better": "gain", "worse": "loss", "unsure": "unsure"}.get(one.on_test, "")
    return row(
        Cell(one.result.target_name, one.result.comparison.target),
        comparison_title(one.result.comparison),
        f"{one.single:g}",
        by_part or DASH,
        Cell(signed(metric, one.validation), error),
        gain_cell(one.result, one.test) if one.lambdas else Cell(DASH),
        Cell(_VERDICTS[one.on_test], mark=mark),  # type: ignore[arg-type]
    )


def _told(found: Sequence[Freedom]) -> str:
    better, worse, same = (sum(one.on_test == kind for one in found) for kind in ("better", "worse", "same"))
    rest = len(found) - better - worse - same
    parts = [
        f"**{better}** gained beyond the uncertainty on test data",
        *([f"{worse} lost"] if worse else []),
        *([f"{rest} differ by less than their uncertainty"] if rest else []),
        *([f"in {same} one lambda was as good"] if same else []),
    ]
    return f"Of {counted(len(found), 'comparison')} searched by parts {', '.join(parts)}."
