"""Report: which related languages were chosen."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.report.document import (
    Cell,
    Column,
    Paragraph,
    Section,
    Table,
)
from orchestrator.report.wording import DASH
from orchestrator.results.comparisons import Result
from orchestrator.results.inputs import ReportInputs


def related_section(inputs: ReportInputs, results: Sequence[Result]) -> Section | None:
    """Which related language each target got, by which distance."""
    chosen = {(c.target, c.related_by, c.ranking): c for result in results if (c := result.comparison).ranking}.values()
    if not chosen:
        return None
    rows = tuple(
        (
            Cell(inputs.language(c.target), c.target),
            Cell(", ".join(inputs.language(code) for code, _ in c.ranking)),
            Cell(", ".join(f"{distance:.3f}" for _, distance in c.ranking)),
            Cell(c.related_by),
            Cell(c.related_rule or DASH),
        )
        for c in chosen
    )
    titles = ("Target", "Related language", "Distance", "Of kind", "Rule")
    columns = tuple(Column(title, numeric=False) for title in titles)
    sources = list(dict.fromkeys(c.related_source for c in chosen if c.related_source))
    notes = list(dict.fromkeys(note for c in chosen for note in c.related_notes))
    text = " ".join([f"Distances: {'; '.join(sources)}." if sources else "", *(f"{note}." for note in notes)]).strip()
    return Section("Related languages", (Table("", columns, rows), *((Paragraph(text, "note"),) if text else ())))
