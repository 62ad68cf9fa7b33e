"""Where the wall clock of a run went, worker by worker, from its events and from what steps measured of themselves."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from orchestrator.execution.event_log import events, runs_of
from orchestrator.store.layout import campaign_folder
from orchestrator.store.record import Record

Use = Literal["starting", "loading", "preparing", "computing", "writing", "waiting", "idle"]
# In the order in which a piece of work is drawn; what is not told of it is waiting.
WORKING: tuple[Use, ...] = ("loading", "preparing", "computing", "writing")
USES: tuple[Use, ...] = ("starting", *WORKING, "waiting", "idle")
# Steps of these jobs that began at one moment shared a process: a bank, or the searches of one Tune run.
_TOGETHER = ("language-adapter", "task-adapter", "search")
_TINY = 1e-6
_CLOSE = 0.01  # seconds: moments are kept as whole milliseconds
_SLACK = 1.0  # seconds by which the clock may have been set back


@dataclass(frozen=True, slots=True)
class Piece:
    """A time in which a process was at work, in seconds since the run began.

    `begin` comes after `starting` seconds in which the process came up. `ready`: when the step's inputs were there.
    `measured`: whether the step told its phases; of one that did not, all of it counts as computing.
    """

    key: str
    worker: str
    begin: float
    end: float
    phases: Mapping[str, float]
    ready: float
    cores: int = 1
    of: int = 0
    starting: float = 0.0
    measured: bool = True


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a worker's time, in seconds since the run began."""

    use: Use
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class WorkerTimes:
    """A place on a machine, on which processes follow each other, from the run's beginning to its end without gaps."""

    name: str
    parts: tuple[Part, ...]

    def seconds(self, use: Use) -> float:
        """All of one use."""
        return math.fsum(part.end - part.begin for part in self.parts if part.use == use)


@dataclass(frozen=True, slots=True)
class RunTimes:
    """One run. `seconds`: its wall clock. `cores`: of the machines that worked for it; 0 where no step told them.

    `computed`: seconds of computing times the cores that computed. `unmeasured`: steps whose phases nobody told.
    `over`: whether the log says how it ended. `done`: step -> when it was recorded, `ready`: when its inputs were
    there; `zero`: when the run began, in seconds since 1970; `driver`: its process.
    """

    seconds: float
    cores: int
    workers: tuple[WorkerTimes, ...]
    computed: float
    unmeasured: int
    over: bool
    zero: float
    driver: str
    ready: Mapping[str, float] = field(repr=False)
    done: Mapping[str, float] = field(repr=False)

    @property
    def share(self) -> float:
        """Of the cores' time (of the workers', where no cores are known) the share that was computing."""
        places = self.cores or sum(one.name != DRIVER for one in self.workers)
        return self.computed / (places * self.seconds) if places and self.seconds else 0.0

    def use_share(self, use: Use) -> float:
        """Of the time of all workers, without a driver that only commits, the share of one use."""
        workers = [one for one in self.workers if one.name != DRIVER]
        total = self.seconds * len(workers)
        return math.fsum(one.seconds(use) for one in workers) / total if total else 0.0


DRIVER = "driver"


def last_run(workspace: Path, campaign: str, read: Callable[[str], Record | None]) -> RunTimes | None:
    """The latest run that made a step of which there is a record; None where there is no such run.

    `read`: the record of a step, None where there is none. A step that was computed again on purpose kept the record of
    the run that made it.
    """
    for run in reversed(runs_of(list(events(campaign_folder(workspace, campaign) / "events.jsonl")))):
        finished = (event.get("key") for event in run if event["event"] == "succeeded")
        found = {key: record for key in finished if key and (record := read(key)) is not None}
        zero = _moment(run[0]) if run else 0.0
        records = {key: record for key, record in found.items() if _since(record, "finished", zero) >= -_SLACK}
        if records:
            return run_times(run, records)
    return None


def run_times(run: Sequence[Mapping[str, Any]], records: Mapping[str, Record]) -> RunTimes:
    """The events of one run, oldest first, with the records of its steps."""
    zero, last = _moment(run[0]), _moment(run[-1])
    seconds = max(last - zero, 0.0)
    at = {(str(event["event"]), str(event.get("key", ""))): _moment(event) - zero for event in run}
    done = {key: moment for (name, key), moment in at.items() if name == "succeeded" and key in records}
    ready = {key: at.get(("running", key), 0.0) for key in done}
    driver = f"{next((records[key].provenance.get('host', '') for key in done), '')}:{run[0].get('pid', '')}"
    pieces = sorted(
        (
            replace(piece, begin=max(piece.begin, 0.0), end=min(piece.end, seconds))
            for piece in work_of([records[key] for key in done], zero, ready, driver)
            if piece.begin < seconds and piece.end > 0
        ),
        key=lambda piece: (piece.begin, piece.end),
    )
    commits = _union((_since(records[key], "finished", zero), moment) for key, moment in done.items())
    cores: dict[str, int] = {}
    for piece in pieces:
        host = host_of(piece)
        cores[host] = max(cores.get(host, 0), piece.of)
    return RunTimes(
        seconds,
        sum(cores.values()),
        tuple(_workers(pieces, driver, _Around(seconds, _executor_start(run, zero), commits))),
        math.fsum(piece.phases.get("computing", 0.0) * piece.cores for piece in pieces),
        len({piece.key for piece in pieces if not piece.measured}),
        run[-1]["event"] == "finished",
        zero,
        driver,
        ready,
        done,
    )


def host_of(piece: Piece) -> str:
    """The machine that it was done on."""
    return piece.worker.partition(":")[0]


def work_of(
    records: Iterable[Record], zero: float = 0.0, ready: Mapping[str, float] | None = None, driver: str = ""
) -> Iterator[Piece]:
    """What was done for the steps of `records`, each second of a process once, in seconds since `zero`.

    Steps that were made together share their process: of a bank, what passed until its first language ended belongs to
    that one, what came then until the next one ended to the next one. A record without phases, of an earlier version,
    has all its time computing; `driver`: the process of those that were made without Ray.
    """
    shared: dict[tuple[str, float], list[Piece]] = defaultdict(list)
    for record in records:
        for piece in told(record, zero, (ready or {}).get(record.key, 0.0), driver):
            shared[piece.worker, piece.begin].append(piece)
    for together in shared.values():
        before: Piece | None = None
        for piece in sorted(together, key=lambda piece: (piece.end, piece.key)):
            if before is None:
                yield replace(piece, ready=min(one.ready for one in together))
            else:
                rest = {name: max(0.0, spent - before.phases.get(name, 0.0)) for name, spent in piece.phases.items()}
                yield replace(piece, begin=before.end, phases=rest, starting=0.0)
            before = piece


def told(record: Record, zero: float, ready: float, driver: str) -> Iterator[Piece]:
    """What the record says of its step, all of a bank for each language of it; see `work_of`."""
    facts = record.provenance
    for one in facts.get("work", ()):
        begin = one["started"] - zero
        end, cores, of = begin + one["seconds"], one.get("cores", 1), one.get("of", 0)
        yield Piece(record.key, one["worker"], begin, end, one["phases"], ready, cores, of, one.get("starting", 0.0))
    if not facts.get("work") and facts.get("started"):
        seconds, began = float(facts.get("seconds", 0.0)), _since(record, "started", zero)
        run = f"{record.job} {facts['started']}" if record.job in _TOGETHER else record.key
        worker = driver if driver and facts.get("executor") == "local" else f"{facts.get('host', '')}:{run}"
        yield Piece(record.key, worker, began, began + seconds, {"computing": seconds}, ready, measured=False)


@dataclass(frozen=True, slots=True)
class _Around:
    """What else there is to know of a run: how long it was, its executor's start, and when records were written."""

    seconds: float
    start: tuple[float, float]
    commits: Sequence[tuple[float, float]]


def _workers(pieces: Sequence[Piece], driver: str, around: _Around) -> Iterator[WorkerTimes]:
    """Processes by machine on as few places as they need; the driver last, where it does not work itself."""
    by_process: dict[str, list[Piece]] = defaultdict(list)
    for piece in pieces:
        by_process[piece.worker].append(piece)
    free: dict[str, list[tuple[float, list[Piece], bool]]] = defaultdict(list)
    for worker, own in sorted(by_process.items(), key=lambda item: item[1][0].begin - item[1][0].starting):
        host, begin, end = host_of(own[0]), own[0].begin - own[0].starting, max(one.end for one in own)
        places = free[host]
        place = next((n for n, (until, _, _) in enumerate(places) if until <= begin + _TINY), len(places))
        held, commits = (places[place][1], places[place][2]) if place < len(places) else ([], False)
        places[place : place + 1] = [(end, [*held, *own], commits or worker == driver)]
    several = len(free) > 1
    for host, places in free.items():
        for number, (_, own, commits) in enumerate(places, 1):
            name = f"{host} worker {number}" if several else f"worker {number}"
            known = around if commits else replace(around, commits=())
            yield WorkerTimes(name, tuple(_merged(_parts(own, known))))
    if driver not in by_process:
        # How long a cluster took to start is shown in the workers' rows, which wait for it.
        alone = replace(around, start=(0.0, 0.0))
        yield WorkerTimes(DRIVER, tuple(_merged(_gap(0.0, around.seconds, math.inf, alone))))


def parts_of(pieces: Sequence[Piece], seconds: float) -> tuple[Part, ...]:
    """What the first `seconds` of a run went to, for these pieces alone."""
    return tuple(_merged(_parts(pieces, _Around(seconds, (0.0, 0.0), ()))))


def _parts(pieces: Sequence[Piece], around: _Around) -> Iterator[Part]:
    now = 0.0
    for piece in _apart(pieces):
        begin = min(max(piece.begin - piece.starting, now), piece.begin)
        yield from _gap(now, begin, piece.ready, around)
        yield Part("starting", begin, piece.begin)
        now = piece.begin
        for name in WORKING:
            until = min(now + piece.phases.get(name, 0.0), piece.end)
            yield Part(name, now, until)
            now = until
        yield Part("waiting", now, piece.end)
        now = piece.end
    yield from _gap(now, around.seconds, math.inf, around)


def _apart(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Pieces of one place that overlap, such as two searches that take turns, as one."""
    held: Piece | None = None
    for piece in sorted(pieces, key=lambda piece: (piece.begin, piece.end)):
        if held is None:
            held = piece
            continue
        if piece.begin >= held.end - _CLOSE and piece.end > held.end:
            yield held
            held = replace(piece, begin=max(piece.begin, held.end))
            continue
        names = held.phases.keys() | piece.phases.keys()
        phases = {name: held.phases.get(name, 0.0) + piece.phases.get(name, 0.0) for name in names}
        held = replace(held, end=max(held.end, piece.end), phases=phases, ready=min(held.ready, piece.ready))
    if held is not None:
        yield held


def _gap(begin: float, end: float, ready: float, around: _Around) -> Iterator[Part]:
    """A time without work: records were written, the executor started, a step waited that was `ready`, or nothing."""
    at = max(0, bisect_right(around.commits, (begin, math.inf)) - 1)
    while at < len(around.commits) and around.commits[at][0] < end:
        one, other = (min(max(moment, begin), end) for moment in around.commits[at])
        yield from _free(begin, one, ready, around)
        yield Part("writing", one, other)
        begin, at = other, at + 1
    yield from _free(begin, end, ready, around)


def _free(begin: float, end: float, ready: float, around: _Around) -> Iterator[Part]:
    first, last = around.start
    cuts = sorted({begin, end, *(cut for cut in (ready, first, last) if begin < cut < end)})
    for one, other in pairwise(cuts):
        middle = (one + other) / 2
        use: Use = "starting" if first <= middle < last else "waiting" if middle >= ready else "idle"
        yield Part(use, one, other)


def _merged(parts: Iterable[Part]) -> Iterator[Part]:
    """Without empty ones; neighbours of one use as one."""
    held: Part | None = None
    for part in parts:
        if part.end - part.begin <= _TINY:
            continue
        if held is not None and held.use == part.use and part.begin - held.end <= _TINY:
            held = replace(held, end=part.end)
            continue
        if held is not None:
            yield held
        held = part
    if held is not None:
        yield held


def _union(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        elif end > begin:
            found.append((begin, end))
    return found


def _since(record: Record, name: str, zero: float) -> float:
    """A moment of the record's provenance, in seconds since `zero`; without it the run's beginning."""
    text = record.provenance.get(name)
    return datetime.fromisoformat(text).timestamp() - zero if text else 0.0


def _executor_start(run: Sequence[Mapping[str, Any]], zero: float) -> tuple[float, float]:
    """From when to when the executor started, in seconds since `zero`; twice 0 where it did not."""
    event = next((event for event in run if event["event"] == "executor"), None)
    return (0.0, 0.0) if event is None else (_moment(event) - event["seconds"] - zero, _moment(event) - zero)


def _moment(event: Mapping[str, Any]) -> float:
    return float(event.get("time", 0.0))
