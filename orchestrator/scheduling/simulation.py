"""The event loop of the simulation: banks, searches and warm workers take seats as the executor on Ray gives them.

A bank takes a seat for one Ray Train job and trains its languages together. A search run takes all searches that are
ready, spreads their trials over the warm workers and ends when the last trial does; only then the next run begins.
Everything else runs on the warm workers, one call after another.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from jobs.spec import SearchSpec, TrainingSpec
from orchestrator.campaign.resources import ResourcesSection
from orchestrator.scheduling.capacity import Debounce, bank_key, bank_slots, split_banks, worker_slots
from orchestrator.scheduling.cluster_model import Cluster, Machines, Slot
from orchestrator.scheduling.cost import trials
from orchestrator.store.graph import StepGraph
from orchestrator.store.step import Step

START_UP = "start-up"  # the job of a span in which a process starts and loads its models


@dataclass(frozen=True, slots=True)
class Overheads:
    """Seconds beside the work itself, measured on 2 CPU cores.

    `bank`: an empty Ray Train run. `worker`: a warm worker until it can score. `search`: an empty Ray Tune run.
    `trial`: of Tune's loop for each trial; the loop serves all workers. `step`: of the driver, to check, record and
    commit a finished step, one after another.
    """

    bank: float = 7.0
    worker: float = 6.0
    search: float = 3.0
    trial: float = 0.01
    step: float = 0.002


@dataclass(frozen=True, slots=True)
class Span:
    """A lane is busy: `lane` of `node` works on `steps` steps of `job` from `start` to `end`, in seconds."""

    node: int
    lane: int
    start: float
    end: float
    job: str
    steps: int
    cpus: float
    gpus: float


@dataclass(slots=True)
class _Worker:
    """A warm worker: its seat, and the share of a search run that is its own; `lent` to that run, it stays."""

    seat: Slot
    pieces: deque[tuple[Step, float]] = field(default_factory=deque)
    lent: bool = False


class Engine:
    """One simulation. `ends` and `spans` hold what came of it after `run`."""

    def __init__(
        self,
        steps: Sequence[Step],
        seconds: Mapping[str, float],
        resources: ResourcesSection,
        cluster: Cluster,
        extra: Overheads,
    ) -> None:
        """`steps`: most urgent first. `seconds`: of each step alone, start-up left out."""
        self.ends: dict[str, float] = {}
        self.spans: list[Span] = []
        self._seconds, self._asked, self._extra = seconds, resources, extra
        self._machines, self._rooms = Machines(cluster), cluster.rooms()
        self._bank_room = bank_slots(self._rooms, resources)
        self._worker_rooms: dict[int, int] = {}
        self._now = self._driver = 0.0
        self._settling = Debounce()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._trainings: dict[Hashable, list[Step]] = {}
        self._searches: list[Step] = []
        self._calls: deque[Step] = deque()
        self._unseated: deque[Sequence[Step]] = deque()
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._pieces_left: dict[str, int] = {}  # of the search run that goes on
        self._banks = self._lent = self._starting = 0
        self._graph = StepGraph(steps)

    def run(self) -> None:
        """Until every step is recorded."""
        self._submit(self._graph.ready())
        while self._events:
            self._now, _, act = heapq.heappop(self._events)
            act()
            self._start_what_can()
        assert len(self.ends) == len(self._graph.ranks), "the simulation stands still"

    def _at(self, moment: float, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (moment, self._count, act))

    def _submit(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if isinstance(step.spec, TrainingSpec):
                self._trainings.setdefault(bank_key(step.spec), []).append(step)
            elif isinstance(step.spec, SearchSpec):
                self._searches.append(step)
            else:
                self._calls.append(step)
        if any(isinstance(step.spec, TrainingSpec | SearchSpec) for step in steps):
            self._news()
        self._at(self._now, lambda: None)

    def _news(self) -> None:
        self._settling.news(self._now)
        self._at(self._settling.over, lambda: None)

    def _end(self, step: Step) -> None:
        """The work is done; the driver records it, one step after another, and its dependants may start."""
        self._driver = max(self._driver, self._now) + self._extra.step
        self._at(self._driver, partial(self._record, step))

    def _record(self, step: Step) -> None:
        self.ends[step.key] = self._now
        if ready := self._graph.done(step):
            self._submit(ready)

    def _rank_of(self, step: Step) -> int:
        return self._graph.ranks[step.key]

    def _start_what_can(self) -> None:
        settled = self._now >= self._settling.over - 1e-9
        if settled and self._trainings and self._banks < self._bank_room:
            self._start_banks()
        while self._unseated and (seat := self._bank_seat()):
            self._train(self._unseated.popleft(), seat)
        if settled and self._searches and not self._lent:
            self._start_searches()
        self._give_calls()

    def _start_banks(self) -> None:
        """As `RayExecutor`: those alike the most urgent one, in equal banks, as many as there is room for."""
        for alike in self._trainings.values():
            alike.sort(key=self._rank_of)
        key, alike = min(self._trainings.items(), key=lambda item: self._rank_of(item[1][0]))
        room = self._bank_room - self._banks
        banks = list(split_banks(alike, room, self._asked.bank_size))[:room]
        if left := alike[sum(map(len, banks)) :]:
            self._trainings[key] = left
        else:
            del self._trainings[key]
        self._banks += len(banks)
        self._unseated.extend(banks)

    def _bank_seat(self) -> Slot | None:
        """A seat for a bank, for which idle workers must go."""
        while True:
            seat = self._machines.take(self._asked.cpus_per_bank, self._asked.gpus_per_bank)
            if seat is not None:
                return seat
            worker = next((one for one in reversed(self._idle) if not one.lent), None)
            if worker is None:
                return None
            self._idle.remove(worker)
            self._workers.remove(worker)
            self._machines.release(worker.seat)

    def _train(self, bank: Sequence[Step], seat: Slot) -> None:
        """Languages of a bank end together, task adapters one after another."""
        begin = self._now + self._extra.bank
        self._busy(seat, self._now, begin, START_UP, len(bank))
        end = begin + sum(self._seconds[step.key] for step in bank)
        self._busy(seat, begin, end, bank[0].job, len(bank))
        moment = begin
        for step in bank:
            moment += self._seconds[step.key]
            self._at(end if step.job == "language-adapter" else moment, partial(self._end, step))
        self._at(end, partial(self._bank_over, seat))

    def _bank_over(self, seat: Slot) -> None:
        self._banks -= 1
        self._machines.release(seat)
        self._news()

    def _start_searches(self) -> None:
        """One run of all that are ready, on as many workers as find a seat."""
        wanted = max(1, self._room_for_workers())
        while len(self._workers) < wanted and self._start_worker():
            pass
        if not self._workers:
            return
        self._lent = min(wanted, len(self._workers))
        for worker in self._workers[: self._lent]:
            worker.lent = True
        searches, self._searches = sorted(self._searches, key=self._rank_of), []
        self._at(self._now + self._extra.search, partial(self._lend, searches))

    def _lend(self, searches: Sequence[Step]) -> None:
        """Trials to workers: a search stays on one worker where there are searches enough, else it goes to all."""
        lent = self._lent
        for number, step in enumerate(searches):
            assert isinstance(step.spec, SearchSpec)
            count = trials(step.spec)
            # Tune's loop hands out one trial after another to all workers.
            each = max(self._seconds[step.key] / count, min(lent, count) * self._extra.trial)
            if len(searches) >= lent:
                shares = {number % lent: count}
            else:
                shares = {(number + n) % lent: (count - n - 1) // lent + 1 for n in range(min(lent, count))}
            self._pieces_left[step.key] = len(shares)
            for place, share in shares.items():
                self._workers[place].pieces.append((step, share * each))
        idle, self._idle = self._idle, []
        for worker in idle:
            self._next(worker)

    def _room_for_workers(self) -> int:
        banks = self._banks + bool(self._trainings)
        if banks not in self._worker_rooms:
            self._worker_rooms[banks] = worker_slots(self._rooms, self._asked, banks)
        return self._worker_rooms[banks]

    def _give_calls(self) -> None:
        """Calls go to idle workers; more workers start while there is room, and one always."""
        if not self._calls:
            return
        while self._idle and self._calls:
            self._next(self._idle.pop())
        while self._starting < len(self._calls) and len(self._workers) < max(1, self._room_for_workers()):
            if not self._start_worker():
                return

    def _start_worker(self) -> bool:
        seat = self._machines.take(self._asked.cpus_per_evaluator, self._asked.gpus_per_evaluator)
        if seat is None:
            return False
        worker = _Worker(seat)
        self._workers.append(worker)
        begin = self._now + self._extra.worker
        self._busy(seat, self._now, begin, START_UP, 0)
        self._starting += 1
        self._at(begin, partial(self._warm, worker))
        return True

    def _warm(self, worker: _Worker) -> None:
        self._starting -= 1
        self._next(worker)

    def _next(self, worker: _Worker) -> None:
        """Begin the next call, or the next piece of a search run, or rest."""
        if self._calls:
            step = self._calls.popleft()
            seconds, over = self._seconds[step.key], self._end
        elif worker.pieces:
            step, seconds = worker.pieces.popleft()
            over = self._piece_over
        else:
            self._idle.append(worker)
            return

        def end() -> None:
            over(step)
            self._next(worker)

        self._busy(worker.seat, self._now, self._now + seconds, step.job, 1)
        self._at(self._now + seconds, end)

    def _piece_over(self, step: Step) -> None:
        self._pieces_left[step.key] -= 1
        if not self._pieces_left[step.key]:
            del self._pieces_left[step.key]
            self._end(step)
        if not self._pieces_left:
            self._lent = 0
            for worker in self._workers:
                worker.lent = False

    def _busy(self, seat: Slot, start: float, end: float, job: str, steps: int) -> None:
        self.spans.append(Span(seat.node, seat.lane, start, end, job, steps, seat.cpus, seat.gpus))
