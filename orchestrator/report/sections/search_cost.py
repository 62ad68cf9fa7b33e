"""The report's part on what searches cost and how soon they had found what they found."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.plots.panels import Curve, TrainingPanel
from orchestrator.report.document import Cell, Column, FigureRef, Gallery, Paragraph, Section, Table, foldable
from orchestrator.report.wording import DASH, comparison_title, duration, file_stem, score, signed, task_title
from orchestrator.results.comparisons import Result
from orchestrator.results.searches import Flatness, Search


def search_section(results: Sequence[Result]) -> Section | None:
    """Evaluations, cache hits and seconds of each search, its best-so-far curve, and whether it was worth it."""
    searched = [result for result in results if result.search]
    if not searched:
        return None
    note = Paragraph(
        "One evaluation scores a candidate on the whole validation set with every seed; one on a part of it counts "
        "as that part. Kept scores were computed by an earlier search and cost nothing. The curves show the best "
        "validation score after each evaluation.",
        "note",
    )
    silent = [
        f"{result.target_name} ({comparison_title(result.comparison)})"
        for result in searched
        if result.search and result.search.constant
    ]
    said = (Paragraph(f"Every candidate scored the same for {'; '.join(silent)}. Nothing could be chosen.", "alarm"),)
    figures = tuple(_best_so_far(result) for result in searched if result.search and len(result.search.best_so_far) > 1)
    gallery = foldable(Gallery(figures, (("best so far", "arithmetic", "line"),), "small")) if figures else ()
    return Section("Search", (note, *(said if silent else ()), _cost_table(searched), *gallery))


def _cost_table(results: Sequence[Result]) -> Table:
    columns = (
        Column("Target", False), Column("Comparison", False), Column("Strategy", False), Column("Evaluations"),
        Column("Candidates in all"), Column("Kept scores"), Column("Best at"), Column("Time"),
        Column("Gain over the default"), Column("Was it worth it?", False),
    )  # fmt: skip
    return Table("", columns, tuple(_row(result) for result in results))


def _row(result: Result) -> tuple[Cell, ...]:
    search, flat = result.search, result.flatness
    assert search is not None
    gain = Cell(DASH)
    if flat is not None:
        spread = "" if math.isnan(flat.spread) else f"±{score(result.comparison.metric, flat.spread)}"
        gain = Cell(signed(result.comparison.metric, flat.validation_gain), spread)
    return (
        Cell(result.target_name),
        Cell(comparison_title(result.comparison)),
        Cell(search.strategy),
        Cell(f"{search.evaluations if math.isnan(search.spent) else search.spent:g}"),
        Cell(str(search.space) if search.space else DASH),
        Cell(str(search.hits)),
        Cell(str(search.found_at)),
        Cell(duration(search.seconds)),
        gain,
        _verdict(search, flat),
    )


def _verdict(search: Search, flat: Flatness | None) -> Cell:
    if search.constant:
        return Cell("all candidates score the same", mark="unsure")
    if flat is None:
        return Cell("the default was not tried")
    if flat.validation_gain <= 0:
        return Cell("it chose the default", mark="unsure")
    return Cell("gained less than its own uncertainty" if flat.flat else "yes", mark="unsure" if flat.flat else "gain")


def _best_so_far(result: Result) -> FigureRef:
    search, comparison = result.search, result.comparison
    assert search is not None
    values = search.best_so_far
    steps = tuple(float(number) for number in range(1, len(values) + 1))
    several = f", {comparison.method}" if comparison.method and comparison.method in comparison.name else ""
    margin = 0.08 * (max(values) - min(values)) or 0.5
    panel = TrainingPanel(
        f"{result.target_name}, {task_title(comparison)}{several}",
        score(comparison.metric, values[-1]),
        (Curve("best so far", steps, values, (0.0,) * len(values), "arithmetic", True),),
        ((float(search.found_at), values[-1]),),
        (min(values) - margin, max(values) + margin),
        "evaluations",
    )
    alt = f"{panel.title}: best {panel.note} after {search.found_at} of {len(values)} evaluations"
    return FigureRef(file_stem("search", comparison.name, comparison.task, comparison.target), panel, alt)
