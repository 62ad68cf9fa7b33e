"""The report's part on time: where the wall clock of the latest run went, by worker, and what decided its end."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from orchestrator.plots.panels import Bar, TimelinePanel
from orchestrator.report.document import (
    Block,
    FigureRef,
    Fold,
    Gallery,
    LegendMark,
    Paragraph,
    Section,
    Table,
    columns,
    row,
)
from orchestrator.report.wording import DASH, counted, duration
from orchestrator.results.critical_path import PathLink, critical_path
from orchestrator.results.inputs import ReportInputs, read_records
from orchestrator.results.run_times import DRIVER, USES, WORKING, Part, RunTimes, Use, WorkerTimes, last_run, work_of
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.record import Record
from orchestrator.wording import short

COLOURS: dict[Use, str] = {
    "starting": "fixed",
    "loading": "proxy-4",
    "preparing": "proxy-3",
    "computing": "proxy-1",
    "writing": "own",
    "waiting": "arithmetic",
}
_WORDS: dict[Use, str] = {
    "starting": "processes start",
    "loading": "models load",
    "preparing": "data is prepared",
    "computing": "computing",
    "writing": "results are written",
    "waiting": "waiting for a place",
    "idle": "nothing to do",
}
MOST_ROWS = 16  # of a picture; of a longer path the end is shown, of more workers those that computed most
COLUMNS = 500  # parts that a row can show


def run_times_section(inputs: ReportInputs) -> Section | None:
    """None where no step was made yet that told when."""
    run = last_run(inputs.store.root, inputs.campaign, inputs.records.get)
    spent = _spent_table(inputs.records.values())
    if run is None and not spent.rows:
        return None
    blocks: list[Block] = []
    if run is not None and run.seconds > 0:
        path = critical_path(run, inputs.records)
        blocks += [Paragraph(_sentence(run)), Paragraph(_path_sentence(path), "note"), *_notes(run)]
        figures = (_workers_figure(run), _path_figure(run, path))
        blocks += [Gallery(figures, _legend(), "large"), Fold("Every worker", (_workers_table(run),))]
        blocks += [Fold("The critical path, step by step", (_path_table(path),))]
    blocks += [Fold("All runs together, by job", (Paragraph(_ALL, "note"), spent))]
    return Section("Where the time went", tuple(blocks))


_ALL = (
    "Seconds of processes, whichever run they belong to: steps that were made together share theirs, and what a killed "
    "process had not finished counts for nothing."
)


def run_line(store: ArtifactStore, campaign: str) -> str:
    """Where the time of the latest run went, in one line; empty where no step has told."""
    run = last_run(store.root, campaign, lambda key: read_records(store, [key])[0].get(key))
    return _line(run) if run is not None and run.seconds > 0 else ""


def _line(run: RunTimes) -> str:
    """E.g. "61 % of 2 cores computed in 4 min 31 s; processes start 9 %, ..."."""
    shares = [(use, run.use_share(use)) for use in USES if use != "computing"]
    others = ", ".join(f"{_WORDS[use]} {_percent(share)}" for use, share in shares if share >= 0.005)
    where = f"of {counted(run.cores, 'core')}" if run.cores else "of the workers' time"
    did = f"{_percent(run.share)} {where} computed in {duration(run.seconds)}"
    return f"{did}; of the workers' time: {others}" if others else did


def _sentence(run: RunTimes) -> str:
    begun = "The latest run" if run.over else "The latest run, which has not told its end,"
    cores = f"the time of {counted(run.cores, 'core')}" if run.cores else "the workers' time"
    workers = [one for one in run.workers if one.name != DRIVER]
    rest = [(use, run.use_share(use)) for use in USES if use != "computing" and run.use_share(use) >= 0.005]
    others = ", ".join(f"{_WORDS[use]} {_percent(share)}" for use, share in sorted(rest, key=lambda one: -one[1]))
    did = f"{begun} took {duration(run.seconds)}; **{_percent(run.share)}** of {cores} went into computing."
    also = f" Of the time of {counted(len(workers), 'worker')} the rest: {others}." if others else ""
    return did + also


def _path_sentence(path: Sequence[PathLink]) -> str:
    waited = math.fsum(part.end - part.begin for one in path for part in one.parts if part.use == "waiting")
    what = "decided when it ended" if len(path) > 1 else "alone decided when it ended"
    chain = f"The critical path: {counted(len(path), 'step')} {what}, of which {duration(waited)} passed in waiting."
    places = sum(one.held_by == "place" for one in path)
    return f"{chain} {counted(places, 'step')} of it had all inputs and waited for a place." if places else chain


def _notes(run: RunTimes) -> list[Block]:
    if not run.unmeasured:
        return []
    text = f"Of {counted(run.unmeasured, 'step')} it is not told what the time went to: all of it counts as computing."
    return [Paragraph(text, "note")]


def _workers_figure(run: RunTimes) -> FigureRef:
    shown = run.workers
    if len(shown) > MOST_ROWS:
        shown = tuple(sorted(shown, key=lambda one: -one.seconds("computing"))[:MOST_ROWS])
    rows = tuple(Bar(one.name, _note(one, run), _drawn(one.parts, run.seconds)) for one in shown)
    more = f", the {MOST_ROWS} that computed most of {len(run.workers)}" if len(shown) < len(run.workers) else ""
    panel = TimelinePanel(f"What each worker did{more}", rows, run.seconds)
    return FigureRef("time-workers", panel, f"Timeline of the latest run: {_line(run)}")


def _note(worker: WorkerTimes, run: RunTimes) -> str:
    return "" if worker.name == DRIVER else f"computing {_percent(worker.seconds('computing') / run.seconds)}"


def _path_figure(run: RunTimes, path: Sequence[PathLink]) -> FigureRef:
    shown = path[-MOST_ROWS:]
    rows = tuple(Bar(short(one.key), duration(one.end - one.begin), _drawn(one.parts, run.seconds)) for one in shown)
    last = f", its last {len(shown)} steps" if len(shown) < len(path) else ""
    names = ", then ".join(short(one.key) for one in path[-3:])
    panel = TimelinePanel(f"Critical path{last}", rows, run.seconds)
    return FigureRef("time-critical-path", panel, f"The steps that decided the end of the run; the last ones: {names}")


def _drawn(parts: Sequence[Part], seconds: float) -> tuple[tuple[str, float, float], ...]:
    """The parts by colour; of more than a row can show, in each of its columns what most of it went to."""
    if len(parts) > COLUMNS:
        parts = _columns(parts, seconds / COLUMNS)
    return tuple((COLOURS[one.use], round(one.begin, 3), round(one.end, 3)) for one in parts if one.use in COLOURS)


def _columns(parts: Sequence[Part], width: float) -> list[Part]:
    held: dict[int, dict[Use, float]] = defaultdict(lambda: defaultdict(float))
    for part in parts:
        for column in range(int(part.begin / width), min(COLUMNS, math.ceil(part.end / width))):
            within = min(part.end, (column + 1) * width) - max(part.begin, column * width)
            held[column][part.use] += max(0.0, within)
    found: list[Part] = []
    for column, uses in sorted(held.items()):
        most = max(uses, key=lambda use: uses[use])
        if found and found[-1].use == most and round(found[-1].end / width) == column:
            found[-1] = Part(most, found[-1].begin, (column + 1) * width)
        else:
            found.append(Part(most, column * width, (column + 1) * width))
    return found


def _legend() -> tuple[tuple[str, str, LegendMark], ...]:
    return tuple((_WORDS[use], colour, "dot") for use, colour in COLOURS.items())


def _workers_table(run: RunTimes) -> Table:
    titles = columns(["Worker"], (_title(use) for use in USES))
    rows = tuple(row(one.name, *(_seconds(one.seconds(use)) for use in USES)) for one in run.workers)
    return Table("", titles, rows)


def _path_table(path: Sequence[PathLink]) -> Table:
    titles = columns(("Step", "It began when"), ("Waited before", "Took", "Ended at"))
    began = {"start": "the run began", "inputs": "its inputs were there", "place": "the step before it left its place"}
    rows = (
        row(short(one.key), began[one.held_by], _seconds(one.waited), duration(one.end - one.begin), duration(one.end))
        for one in path
    )
    return Table("", titles, tuple(rows))


def _spent_table(records: Iterable[Record]) -> Table:
    uses: tuple[Use, ...] = ("starting", *WORKING)
    by_job: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for piece in work_of(records):
        spent = by_job[piece.key.split("/")[0]]
        spent["starting"] += piece.starting
        for name, seconds in piece.phases.items():
            spent[name] += seconds
    rows = tuple(row(job, *(_seconds(spent[use]) for use in uses)) for job, spent in by_job.items())
    total = row("all", *(_seconds(math.fsum(spent[use] for spent in by_job.values())) for use in uses))
    return Table("", columns(["Job"], (_title(use) for use in uses)), rows, total if rows else ())


def _title(use: Use) -> str:
    words = _WORDS[use]
    return words[:1].upper() + words[1:]


def _seconds(seconds: float) -> str:
    return duration(seconds) if seconds >= 0.0005 else DASH


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
