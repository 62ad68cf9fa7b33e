"""The report's second half: loading the winner, language vectors, cost, provenance."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from orchestrator.report.document import (
    Block,
    Cell,
    Code,
    Column,
    Facts,
    Fold,
    Paragraph,
    Section,
    Table,
)
from orchestrator.report.wording import DASH, counted
from orchestrator.results.inputs import ReportInputs
from orchestrator.store.record import Record


def provenance_section(inputs: ReportInputs) -> Section | None:
    """Versions, revisions and the command to repeat, from the records."""
    records = sorted(inputs.records.values(), key=lambda record: str(record.provenance.get("finished", "")))
    if not records:
        return None
    latest = records[-1].provenance
    facts = [("campaign", inputs.campaign)]
    facts += [
        ("backbone", f"{b['name']} @ {b['revision']}") for b in _distinct(r.spec.get("backbone") for r in records)
    ]
    facts += [
        ("first step", str(records[0].provenance.get("started", ""))),
        ("last step", str(latest.get("finished", ""))),
    ]
    facts += [("git commit", ", ".join(_values(records, "git_commit"))), ("host", ", ".join(_values(records, "host")))]
    facts += [("executor", ", ".join(_values(records, "executor")))]
    facts += [(name, str(version)) for name, version in sorted(dict(latest.get("versions", {})).items())]
    argv = [str(part) for part in latest.get("argv", ())]
    repeat: tuple[Block, ...] = ()
    if argv:
        repeat = (Paragraph("To repeat it:"), Code("sh", shlex.join([Path(argv[0]).name, *argv[1:]])))
    data = Fold(f"Data: {counted(len(_data_rows(inputs)), 'source')}", (_data_table(inputs),))
    return Section("Provenance", (Facts(tuple(fact for fact in facts if fact[1])), data, *repeat))


def _values(records: Sequence[Record], name: str) -> list[str]:
    return list(dict.fromkeys(str(r.provenance[name]) for r in records if r.provenance.get(name)))


def _distinct(values: object) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for value in values:  # type: ignore[attr-defined]
        if value is not None and value not in found:
            found.append(value)
    return found


def _data_rows(inputs: ReportInputs) -> dict[tuple[str, str, str], set[str]]:
    """(source, data set, revision) -> languages."""
    rows: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for record in inputs.records.values():
        for name in ("corpus", "data"):
            data = record.spec.get(name)
            if data:
                rows[data["source"], data.get("dataset", ""), data["revision"]].add(data["language"])
    return rows


def _data_table(inputs: ReportInputs) -> Table:
    rows = tuple(
        (Cell(source), Cell(dataset or DASH), Cell(f"`{revision}`"), Cell(", ".join(sorted(codes))))
        for (source, dataset, revision), codes in sorted(_data_rows(inputs).items())
    )
    columns = (
        Column("Source", False),
        Column("Data set", False),
        Column("Revision", False),
        Column("Languages", False),
    )
    return Table("", columns, rows)
