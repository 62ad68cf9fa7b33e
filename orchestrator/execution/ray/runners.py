"""What blocks goes on in threads: banks as Ray Train jobs, and searches, all that are ready in one Ray Tune run."""

from __future__ import annotations

import os
import threading
import time
from bisect import insort
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from jobs.banks.sharded.memory_model import Parallelism
from jobs.files.call_directories import CallDirectories
from jobs.ray.train import BankResources, train_bank
from jobs.runtime.machine import Device
from jobs.spec import JobResult
from orchestrator.campaign.resources import ResourcesSection
from orchestrator.execution.executor import StepFinished, StepProgress, Work
from orchestrator.execution.ray.metrics import CampaignMetrics
from orchestrator.execution.ray.tune import Tuning, run_searches
from orchestrator.execution.ray.worker_pool import WorkerPool
from orchestrator.scheduling.capacity import bank_key, split_banks
from orchestrator.scheduling.startup_times import BankClock, StartupLog
from orchestrator.search.conclude import conclude, search_progress
from orchestrator.search.score_cache import SCORES, ScoreCache
from orchestrator.search.session import Session

CarryOut = Callable[[str, Sequence[Work]], None]  # blocks; is given the name of its run


class BlockingRun(threading.Thread):
    """Carries out some steps; `failure` is for those of `keys` that have no outcome when it is over.

    A daemon: a process that ends need not wait for it (see `orchestrator.execution.ray.executor`).
    """

    def __init__(self, name: str, works: Sequence[Work], carry_out: CarryOut) -> None:
        """Not started yet."""
        super().__init__(name=name, daemon=True)
        self.keys = tuple(work.step.key for work in works)
        self.failure: Exception = RuntimeError(f"{name} ended without an outcome for this step")
        self._carry_out = partial(carry_out, name, works)

    def run(self) -> None:
        """In the thread."""
        try:
            self._carry_out()
        except Exception as error:  # noqa: BLE001 - becomes the outcome of every step that has none
            self.failure = error


class Runner:
    """Steps of one kind: `waiting`, the most urgent first, or in `runs`, whose names begin with the kind."""

    def __init__(self, kind: str) -> None:
        """Nothing runs yet."""
        self.waiting: list[Work] = []
        self.runs: list[BlockingRun] = []
        self._names = (f"{kind}-{number}-{os.getpid()}" for number in count())

    def submit(self, work: Work) -> None:
        """Have a step wait."""
        insort(self.waiting, work, key=lambda one: one.rank)

    @property
    def active(self) -> int:
        """Runs that go on."""
        return sum(run.is_alive() for run in self.runs)

    def over(self) -> list[BlockingRun]:
        """Runs that have ended, each told once."""
        ended = [run for run in self.runs if not run.is_alive()]
        self.runs = [run for run in self.runs if run not in ended]
        return ended

    def begin(self, works: Sequence[Work], carry_out: CarryOut) -> BlockingRun:
        """Start a run of steps that waited."""
        run = BlockingRun(next(self._names), works, carry_out)
        begun = set(run.keys)
        self.waiting = [work for work in self.waiting if work.step.key not in begun]
        self.runs.append(run)
        run.start()
        return run


class BankRunner(Runner):
    """Trainings that may share a job go together; their outcomes come through the mailbox."""

    def __init__(
        self, asked: ResourcesSection, storage: Path, mailbox: str, metrics: CampaignMetrics, startup_log: StartupLog
    ) -> None:
        """`storage`: where Ray keeps what it writes itself."""
        super().__init__("bank")
        self._storage, self._mailbox, self._metrics, self._startup_log = str(storage), mailbox, metrics, startup_log
        self._bank_size = asked.bank_size
        scale = Parallelism(asked.sharding, asked.deepspeed, asked.bank_size)
        self._resources = BankResources(
            asked.cpus_per_bank, asked.gpus_per_bank, asked.attempts, asked.workers_per_bank, scale
        )
        self._clocks: dict[str, BankClock] = {}

    def start(self, slots: int) -> None:
        """Those alike the most urgent one, in as many banks as there are `slots` for beside those that run."""
        free = slots - self.active
        if not self.waiting or free <= 0:
            return
        first = bank_key(self.waiting[0].step.spec)
        alike = [work for work in self.waiting if bank_key(work.step.spec) == first]
        for bank in list(split_banks(alike, free, self._bank_size))[:free]:
            run = self.begin(bank, self._train)
            self._metrics.bank(run.name, run.keys)
            self._clocks |= dict.fromkeys(run.keys, BankClock())

    def take(self, events: Sequence[StepFinished | StepProgress], over: Sequence[BlockingRun]) -> None:
        """What came through the mailbox, and banks that are over: keeps what their jobs took beside training."""
        for event in events:
            clock = self._clocks.get(event.key)
            if clock and isinstance(event, StepProgress):
                clock.trains()
            elif clock and isinstance(event, StepFinished) and isinstance(event.outcome, JobResult):
                clock.finished()
        for run in over:
            clock, *_ = [self._clocks.pop(key) for key in run.keys]
            seconds = clock.beside()
            if seconds is not None:
                self._startup_log.note("bank", seconds)

    def _train(self, name: str, works: Sequence[Work]) -> None:
        train_bank(name, [work.call for work in works], self._mailbox, self._resources, self._storage)


class SearchRunner(Runner):
    """One Tune run at a time over warm workers; the next takes all searches that wait by then."""

    def __init__(
        self, storage: Path, resources: ResourcesSection, shutting_down: Callable[[], bool], startup_log: StartupLog
    ) -> None:
        """`storage`: where Ray keeps its own results; `shutting_down`: whether no more trials may begin."""
        super().__init__("search")
        self._storage, self._attempts = str(storage), resources.attempts
        self._shutting_down, self._startup_log = shutting_down, startup_log
        # A worker that asks for no GPU sees none.
        self._device: Device = "cuda" if resources.gpus_per_evaluator else "cpu"
        self._directories = CallDirectories()
        self._events: SimpleQueue[StepFinished | StepProgress] = SimpleQueue()
        self._workers: list[Any] = []

    @property
    def lent(self) -> int:
        """Workers of the pool that the run has."""
        return len(self._workers) if self.active else 0

    def start(self, pool: WorkerPool, slots: int) -> None:
        """All that wait, on as many workers as there are `slots` for; a run that goes on gets those that it lacks."""
        if self.active:
            self._workers += pool.lend(slots)[len(self._workers) :]
        elif self.waiting:
            self._workers = pool.lend(max(1, slots))
            self.begin(self.waiting, partial(self._search, self._workers, not pool.is_starting()))

    def events(self) -> list[StepFinished | StepProgress]:
        """What has happened since it was asked last."""
        return [self._events.get() for _ in range(self._events.qsize())]

    def _search(self, workers: Sequence[Any], warm: bool, name: str, works: Sequence[Work]) -> None:
        started, first = time.time(), len(workers)
        here = [self._directories.create(work.call) for work in works]

        def on_trial(session: Session, over: bool) -> None:
            self._events.put(StepProgress(session.call.name, search_progress(session)))
            if over:
                result = self._directories.stage_out(session.call, _conclusion(session))
                self._events.put(StepFinished(session.call.name, result, time.time() - started, started))

        cache = ScoreCache(here[0].cache / SCORES)
        sessions = [Session(call, cache, self._device) for call in here]
        tuning = Tuning(name, self._storage, self._attempts, self._shutting_down)
        before = sum(session.log.seconds for session in sessions)
        # What came beside scoring is known where the workers were the same from the start to the end.
        if run_searches(sessions, workers, on_trial, tuning) and warm and len(workers) == first:
            scored = sum(session.log.seconds for session in sessions) - before
            self._startup_log.note("search", max(0.0, time.time() - started - scored / len(workers)))


def _conclusion(session: Session) -> JobResult | Exception:
    """The search's outcome; a failure must not end the Tune run, in which other searches go on."""
    try:
        return conclude(session)
    except Exception as error:  # noqa: BLE001 - the step's failure is its outcome
        return error
