"""Methods of one section side by side: systems as rows and targets as columns, as papers print them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from orchestrator.report.document import Cell, Column, Table
from orchestrator.report.wording import direction, score, task_title
from orchestrator.results.comparisons import Result

_Scores = dict[str, dict[str, float]]  # system -> target -> mean over seeds


def methods_tables(results: Sequence[Result]) -> tuple[Table, ...]:
    """One table for each section and task in which several methods were searched."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if result.comparison.section and result.comparison.method:
            groups.setdefault((result.comparison.section, result.comparison.task), []).append(result)
    return tuple(_table(group) for group in groups.values() if len({one.comparison.method for one in group}) > 1)


def _table(group: Sequence[Result]) -> Table:
    comparison = group[0].comparison
    scores: _Scores = {}
    labels: dict[str, str] = {}
    for result in group:
        column = f"{result.comparison.target}{_rest(result)}"
        for system in sorted(result.systems, key=lambda one: one.role == "arithmetic"):
            name = result.comparison.method if system.role == "arithmetic" else system.name
            scores.setdefault(name, {})[column] = system.mean
            labels[name] = system.label
    columns = list(dict.fromkeys(column for row in scores.values() for column in row))
    pick = max if comparison.mode == "max" else min
    known = {column: _known(scores, column) for column in columns}
    best = {column: pick(found) for column, found in known.items() if len(set(found)) > 1}
    rows = []
    for name, row in scores.items():
        cells = [_cell(comparison.metric, row.get(column, math.nan), best.get(column)) for column in columns]
        whole = [value for value in row.values() if not math.isnan(value)]
        average = fmean(whole) if len(whole) == len(columns) else math.nan
        wins = sum(cell.mark == "best" for cell in cells)
        told = (Cell(score(comparison.metric, average)), Cell(f"{wins} of {len(columns)}"))
        rows.append((Cell(labels[name]), *cells, *told))
    section = "" if comparison.section == comparison.task else f", {comparison.section}"
    caption = f"{task_title(comparison)}{section}: methods side by side ({direction(comparison.metric)})"
    return Table(
        caption, (Column("System", False), *map(Column, columns), Column("Average"), Column("Best in")), tuple(rows)
    )


def _rest(result: Result) -> str:
    """What else than the method tells comparisons of a section apart, e.g. a budget."""
    parts = result.comparison.name.removeprefix(result.comparison.section).lstrip(": ").split(", ")
    rest = [part for part in parts if part and part != result.comparison.method]
    return f" ({', '.join(rest)})" if rest else ""


def _known(scores: _Scores, column: str) -> list[float]:
    values = (row.get(column, math.nan) for row in scores.values())
    return [value for value in values if not math.isnan(value)]


def _cell(metric: str, value: float, best: float | None) -> Cell:
    return Cell(score(metric, value), mark="best" if value == best else "")
