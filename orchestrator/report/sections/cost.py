"""The report's parts on cost: of the campaign, and of searches with how soon they had found what they found."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from orchestrator.plots.panels import Curve, TrainingPanel
from orchestrator.report.document import (
    Block,
    Cell,
    Column,
    FigureRef,
    Fold,
    Gallery,
    Paragraph,
    Section,
    Table,
    columns,
    foldable,
    row,
)
from orchestrator.report.sections.folds import folds_blocks
from orchestrator.report.sections.results import gain_cell, validation_gain
from orchestrator.report.wording import (
    DASH,
    comparison_title,
    counted,
    duration,
    file_stem,
    panel_title,
    score,
    task_title,
)
from orchestrator.results.comparisons import Result
from orchestrator.results.inputs import ReportInputs
from orchestrator.results.searches import Flatness, Search
from orchestrator.store.record import Record


def cost_section(inputs: ReportInputs, results: Sequence[Result]) -> Section:
    """Steps, reuse and compute time by job, then what each search cost."""
    jobs = list(dict.fromkeys(key.split("/")[0] for key in inputs.steps))
    total = _computed(inputs.records.values())
    rows = [_cost_row(inputs, job, [k for k in inputs.steps if k.startswith(job + "/")], total) for job in jobs]
    everything = _cost_row(inputs, "all", list(inputs.steps), total)
    titles = columns(["Job"], ("Steps", "Done", "Run last time", "Reused", "Compute time", "Share"))
    note = Paragraph(
        "Compute time is what the steps took when they were made, whichever run made them; steps trained together "
        "share the time that they took together.",
        "note",
    )
    blocks: list[Block] = [note, Table("", titles, tuple(rows), everything)]
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
    seconds = _computed(done)
    share = f"{seconds / total:.0%}" if total else DASH
    numbers = (len(keys), len(done), executed, len(done) - min(executed, len(done)))
    return row(job, *(f"{n:,}" for n in numbers), duration(seconds), share)


# Jobs whose steps may share a process: a bank's, and the searches of one Tune run. They have one start then. A search
# that says what its workers did says it of itself alone.
_TOGETHER = ("language-adapter", "task-adapter", "search")


def _computed(records: Iterable[Record]) -> float:
    """Seconds of computing; what was made together took as long as the one of them that took longest."""
    taken: dict[tuple[str, str, str], float] = {}
    for record in records:
        facts = record.provenance
        if record.job == "search" and (work := facts.get("work")):
            taken[record.job, "", record.key] = sum(float(piece["seconds"]) for piece in work)
            continue
        start = facts.get("started") if record.job in _TOGETHER else None
        run = (record.job, str(facts.get("host")), start or record.key)
        taken[run] = max(taken.get(run, 0.0), float(facts.get("seconds", 0.0)))
    return sum(taken.values())


def _search_table(results: Sequence[Result]) -> Table:
    rows, seen = [], set()
    for result in results:
        search = result.search
        assert search is not None
        if search.key in seen:
            continue
        seen.add(search.key)
        each = duration(search.seconds / search.evaluations) if search.evaluations else DASH
        numbers = (str(search.evaluations), str(search.found_at), duration(search.seconds), each)
        rows.append(row(result.target_name, task_title(result.comparison), *numbers))
    titles = columns(("Target", "Task"), ("Candidates scored", "Winner was number", "Time", "Each"))
    return Table("", titles, tuple(rows))


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
    return Section("Search", (note, *(said if silent else ()), _cost_table(searched), *folds_blocks(results), *gallery))


def _cost_table(results: Sequence[Result]) -> Table:
    numbers = (
        "Evaluations",
        "Candidates in all",
        "Kept scores",
        "Best at",
        "Time",
        "Gain over the default",
        "On test data",
    )
    titles = (*columns(("Target", "Comparison", "Strategy"), numbers), Column("Was it worth it?", numeric=False))
    return Table("", titles, tuple(_row(result) for result in results))


def _row(result: Result) -> tuple[Cell, ...]:
    search, flat = result.search, result.flatness
    assert search is not None
    return row(
        result.target_name,
        comparison_title(result.comparison),
        search.strategy,
        f"{search.evaluations if math.isnan(search.spent) else search.spent:g}",
        str(search.space) if search.space else DASH,
        str(search.hits),
        str(search.found_at),
        duration(search.seconds),
        validation_gain(result),
        gain_cell(result, flat.test if flat else None),
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
    margin = 0.08 * (max(values) - min(values)) or 0.5
    panel = TrainingPanel(
        panel_title(result),
        score(comparison.judged[0], values[-1]),
        (Curve("best so far", steps, values, (0.0,) * len(values), "arithmetic", True),),
        ((float(search.found_at), values[-1]),),
        (min(values) - margin, max(values) + margin),
        "evaluations",
    )
    alt = f"{panel.title}: best {panel.note} after {search.found_at} of {len(values)} evaluations"
    return FigureRef(file_stem("search", comparison.name, comparison.task, comparison.target), panel, alt)
