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
    found = {(c.target, c.related.by, c.related.ranking): c for c in (result.comparison for result in results)}
    chosen = [(c.target, c.related) for c in found.values() if c.related.ranking]
    if not chosen:
        return None
    rows = tuple(
        (
            Cell(inputs.language(target), target),
            Cell(", ".join(inputs.language(code) for code, _ in related.ranking)),
            Cell(", ".join(f"{distance:.3f}" for _, distance in related.ranking)),
            Cell(related.by),
            Cell(related.rule or DASH),
        )
        for target, related in chosen
    )
    titles = ("Target", "Related language", "Distance", "Of kind", "Rule")
    columns = tuple(Column(title, numeric=False) for title in titles)
    sources = list(dict.fromkeys(related.source for _, related in chosen if related.source))
    notes = list(dict.fromkeys(note for _, related in chosen for note in related.notes))
    text = " ".join([f"Distances: {'; '.join(sources)}." if sources else "", *(f"{note}." for note in notes)]).strip()
    return Section("Related languages", (Table("", columns, rows), *((Paragraph(text, "note"),) if text else ())))
