"""Report: what the campaign cost."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.report.document import (
    Block,
    Cell,
    Column,
    Fold,
    Paragraph,
    Section,
    Table,
)
from orchestrator.report.wording import DASH, counted, duration, task_title
from orchestrator.results.comparisons import Result
from orchestrator.results.inputs import ReportInputs
from orchestrator.store.record import Record


def cost_section(inputs: ReportInputs, results: Sequence[Result]) -> Section:
    """Steps, reuse and compute time by job, then what each search cost."""
    jobs = list(dict.fromkeys(key.split("/")[0] for key in inputs.steps))
    total = sum(_seconds(record) for record in inputs.records.values())
    rows = [_cost_row(inputs, job, [k for k in inputs.steps if k.startswith(job + "/")], total) for job in jobs]
    everything = _cost_row(inputs, "all", list(inputs.steps), total)
    columns = (
        Column("Job", False), Column("Steps"), Column("Done"), Column("Run last time"), Column("Reused"),
        Column("Compute time"), Column("Share"),
    )  # fmt: skip
    note = Paragraph(
        "Compute time is what the steps took when they were made, whichever run made them; steps trained together "
        "share the time of their bank.",
        "note",
    )
    blocks: list[Block] = [note, Table("", columns, tuple(rows), everything)]
    searched = [result for result in results if result.search]
    if searched:
        searches = {result.search.key: result.search for result in searched if result.search}
        count, seconds = sum(s.evaluations for s in searches.values()), sum(s.seconds for s in searches.values())
        many = "1 search" if len(searches) == 1 else f"{len(searches)} searches"
        text = f"{many} scored {counted(count, 'candidate')} on validation data in {duration(seconds)}."
        blocks += [Paragraph(text), Fold("Every search", (_search_table(searched),))]
    return Section("Reuse and cost", tuple(blocks))


def _cost_row(inputs: ReportInputs, job: str, keys: Sequence[str], total: float) -> tuple[Cell, ...]:
    done = [inputs.records[key] for key in keys if key in inputs.records]
    executed = sum(key in inputs.events.executed for key in keys)
    seconds = sum(_seconds(record) for record in done)
    share = f"{seconds / total:.0%}" if total else DASH
    numbers = (len(keys), len(done), executed, len(done) - min(executed, len(done)))
    return (Cell(job), *(Cell(f"{n:,}") for n in numbers), Cell(duration(seconds)), Cell(share))


def _seconds(record: Record) -> float:
    return float(record.provenance.get("seconds", 0.0))


def _search_table(results: Sequence[Result]) -> Table:
    rows, seen = [], set()
    for result in results:
        search = result.search
        assert search is not None
        if search.key in seen:
            continue
        seen.add(search.key)
        each = duration(search.seconds / search.evaluations) if search.evaluations else DASH
        cells = (str(search.evaluations), str(search.found_at), duration(search.seconds), each)
        rows.append((Cell(result.target_name), Cell(task_title(result.comparison)), *map(Cell, cells)))
    columns = (
        Column("Target", False), Column("Task", False), Column("Candidates scored"), Column("Winner was number"),
        Column("Time"), Column("Each"),
    )  # fmt: skip
    return Table("", columns, tuple(rows))
