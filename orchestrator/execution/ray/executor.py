"""RayExecutor: banks as Ray Train jobs, searches as Ray Tune runs, everything else on warm workers."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

from jobs.banks.sharded.memory_model import Parallelism
from jobs.errors import raise_all
from jobs.files.call_directories import CallDirectories
from jobs.ray.mailbox import open_mailbox
from jobs.ray.train import BankResources, train_bank
from jobs.runtime.shutdown import GRACE_SECONDS, ShutdownRequested
from jobs.runtime.step_log import Send, no_log
from jobs.spec import JobCall, JobResult, LanguageAdapterSpec, SearchSpec, TaskAdapterSpec
from orchestrator.campaign.resources import ResourcesSection
from orchestrator.clusters.ray.connect import connect
from orchestrator.execution.executor import StepFinished, StepProgress, Work
from orchestrator.execution.ray.closing import LONGEST_END, wait_for, wait_once_more
from orchestrator.execution.ray.metrics import CampaignMetrics
from orchestrator.execution.ray.tune import Tuning, run_searches
from orchestrator.execution.ray.worker_pool import ClusterNodes, WorkerPool
from orchestrator.execution.shutdown import ShutdownRequest
from orchestrator.scheduling.bank_packing import bank_key, split_banks
from orchestrator.scheduling.capacity import Debounce, bank_slots, infeasible, worker_slots
from orchestrator.scheduling.startup_times import BankClock, StartupLog
from orchestrator.search.conclude import conclude, search_progress
from orchestrator.search.score_cache import SCORES, ScoreCache
from orchestrator.search.session import Session

ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    # A place that a lost node had will not come: look again soon what the cluster can hold.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_worker_niceness": "0",  # on a laptop, Ray's default of 15 lets any other program starve the campaign
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # searches go on from their trial logs, never from Tune's own state
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


@dataclass(frozen=True, slots=True)
class Run:
    """The run that an executor works for: its campaign's name, and whether it has been told to end."""

    campaign: str = ""
    shutdown: ShutdownRequest = field(default_factory=ShutdownRequest)


@dataclass(frozen=True, slots=True)
class _Ended:
    """A job's thread is over; `failure` is for those of its steps that have no outcome by then."""

    keys: tuple[str, ...]
    failure: Exception


class RayExecutor:
    """Runs on the Ray cluster at `address`, or on one that it starts on this machine."""

    name = "ray"

    def __init__(
        self,
        resources: ResourcesSection,
        workspace: Path,
        address: str | None = None,
        notes: Send = no_log,
        run: Run | None = None,
    ) -> None:
        """Connect and check that the campaign's requests fit. Raises InputError for one that never can."""
        run = run or Run()
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self._own_cluster = not ray.is_initialized()
        if self._own_cluster:
            connect(address)
            run.shutdown.listen_again()
        self._resources, self._storage = resources, workspace / "ray"
        self._cluster = ClusterNodes()
        raise_all(infeasible(resources, self._cluster.nodes()))
        self._directories = CallDirectories()
        self._notes, self._metrics = notes, CampaignMetrics(run.campaign)
        self._shutdown, self._told, self._closed = run.shutdown, False, False
        self._mailbox = open_mailbox()
        self._pool = WorkerPool(resources, self._mailbox.name)
        self._start_ups, self._clocks = StartupLog(workspace), dict[str, BankClock]()
        self._trainings: list[Work] = []
        self._searches: list[Work] = []
        self._running: dict[str, float] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._events: queue.SimpleQueue[StepFinished | StepProgress | _Ended] = queue.SimpleQueue()
        self._settling = Debounce()
        self._lent = 0

    def submit(self, works: Sequence[Work]) -> None:
        """Sort the steps: training into banks, searches into the next Tune run, others to warm workers."""
        self._check_open()
        for work in works:
            self._running[work.step.key] = time.time()
            if isinstance(work.step.spec, (LanguageAdapterSpec, TaskAdapterSpec)):
                self._trainings.append(work)
                self._settling.news(time.monotonic())
            elif isinstance(work.step.spec, SearchSpec):
                self._searches.append(work)
                self._settling.news(time.monotonic())
            else:
                self._pool.run(work.call)
        self._metrics.hold(self._running)

    def poll(self, timeout: float) -> Sequence[StepFinished | StepProgress]:
        """Start what can start and collect what has happened."""
        self._check_open()
        deadline = time.time() + timeout
        while True:
            under_way = self._under_way()
            if self._shutdown.is_requested:
                self._broadcast_shutdown()
            else:
                self._start_banks()
                self._start_searches()
                self._pool.fit(self._worker_room(), self._lent if self._active("search") else 0)
            for seconds in self._pool.born():
                self._start_ups.note("worker", seconds)
            events = [*self._collect(), *self._pool.lost()]
            for event in events:
                if isinstance(event, StepFinished):
                    self._running.pop(event.key, None)
            self._metrics.take(events, self._running)
            if self._told and not events and not (under_way and self._shutdown.seconds_left):
                raise ShutdownRequested
            if events or time.time() >= deadline:
                return events
            time.sleep(0.05)

    def _broadcast_shutdown(self) -> None:
        """Tell the workers, once: trainings save and leave, searches end with the trials that live."""
        if not self._told:
            self._told = True
            ray.get(self._mailbox.actor.leave.remote())

    def _under_way(self) -> bool:
        return bool(self._active("bank") or self._active("search") or self._pool.is_at_work())

    def close(self) -> None:
        """Stop the threads, then what they use, then the cluster if it was started here; nothing starts afterwards.

        Steps under way are told to save their state and leave. Threads are waited for: within the grace period when
        steps are left, else up to LONGEST_END; a signal ends the wait. All is stopped whatever fails on the way.
        """
        if self._closed:
            return
        self._closed = True
        with ExitStack() as afterwards:  # from below
            if self._own_cluster:
                afterwards.callback(ray.shutdown)
            afterwards.callback(wait_once_more, self._threads.values(), self._shutdown)
            afterwards.callback(ray.kill, self._mailbox.actor)
            afterwards.callback(self._pool.release)
            if self._running:
                self._mailbox.actor.leave.remote()
            wait_for(self._threads.values(), GRACE_SECONDS if self._running else LONGEST_END, self._shutdown)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the executor was closed")

    def _collect(self) -> list[StepFinished | StepProgress]:
        noted: list[StepFinished | StepProgress | _Ended] = []
        while not self._events.empty():
            noted.append(self._events.get())
        # Drained after the notes were taken: what a job sent before it ended is here by now.
        outcomes, progress, notes = ray.get(self._mailbox.actor.drain.remote())
        for said in notes:
            self._notes(said)
        events: list[StepFinished | StepProgress] = [StepProgress(name, values) for name, values in progress.items()]
        for name in progress.keys() & self._clocks.keys():
            self._clocks[name].trains()
        for name, outcome, started in outcomes:
            self._pool.done(name)
            if name in self._clocks and isinstance(outcome, JobResult):
                self._clocks[name].finished()
            events.append(StepFinished(name, outcome, time.time() - started, started))
        events += [note for note in noted if not isinstance(note, _Ended)]
        ended = {event.key for event in events if isinstance(event, StepFinished)}
        for note in noted:
            if isinstance(note, _Ended):
                self._settling.news(time.monotonic())
                self._bank_over(note)
                lost = (key for key in note.keys if key in self._running and key not in ended)
                events += [StepFinished(key, note.failure) for key in lost]
        return events

    def _bank_over(self, ended: _Ended) -> None:
        """Keep what a bank's job took beside training."""
        clocks = [clock for clock in (self._clocks.pop(key, None) for key in ended.keys) if clock]
        seconds = clocks[0].beside() if clocks else None
        if seconds is not None:
            self._start_ups.note("bank", seconds)

    def _start_banks(self) -> None:
        active = self._active("bank")
        room = bank_slots(self._cluster.nodes(), self._resources)
        if not self._trainings or active >= room or time.monotonic() < self._settling.over:
            return
        self._trainings.sort(key=lambda work: work.rank)
        first = bank_key(self._trainings[0].step.spec)
        alike = [work for work in self._trainings if bank_key(work.step.spec) == first]
        banks = list(split_banks(alike, room - active, self._resources.bank_size))[: room - active]
        begun = {work.step.key for bank in banks for work in bank}
        self._trainings = [work for work in self._trainings if work.step.key not in begun]
        for bank in banks:
            self._thread("bank", self._train, [work.call for work in bank])

    def _start_searches(self) -> None:
        if self._searches and not self._active("search") and time.monotonic() >= self._settling.over:
            calls = [work.call for work in sorted(self._searches, key=lambda work: work.rank)]
            self._searches = []
            self._lent = max(1, self._worker_room())
            workers = self._pool.lend(self._lent)
            warm = not self._pool.is_starting()
            self._thread("search", lambda name, calls: self._search(name, calls, workers, warm), calls)

    def _active(self, kind: str) -> int:
        return sum(name.startswith(kind) and thread.is_alive() for name, thread in self._threads.items())

    def _thread(self, kind: str, work: Callable[[str, list[JobCall]], None], calls: list[JobCall]) -> None:
        name = f"{kind}-{len(self._threads)}-{os.getpid()}"
        if kind == "bank":
            self._metrics.bank(name, [call.name for call in calls])
            self._clocks |= dict.fromkeys((call.name for call in calls), BankClock())

        def guarded() -> None:
            failure: Exception = RuntimeError(f"{name} ended without an outcome for this step")
            try:
                work(name, calls)
            except Exception as error:  # noqa: BLE001 - becomes the outcome of every call that has none
                failure = error
            self._events.put(_Ended(tuple(call.name for call in calls), failure))

        self._threads[name] = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads[name].start()

    def _train(self, name: str, calls: list[JobCall]) -> None:
        asked = self._resources
        scale = Parallelism(asked.sharding, asked.deepspeed, asked.bank_size)
        resources = BankResources(
            asked.cpus_per_bank, asked.gpus_per_bank, asked.attempts, asked.workers_per_bank, scale
        )
        train_bank(name, calls, self._mailbox.name, resources, str(self._storage))

    def _search(self, name: str, calls: list[JobCall], workers: list[Any], warm: bool) -> None:
        started = time.time()
        here = [self._directories.create(call) for call in calls]

        def on_trial(session: Session, over: bool) -> None:
            self._events.put(StepProgress(session.call.name, search_progress(session)))
            if over:
                result = self._directories.stage_out(session.call, _conclusion(session))
                self._events.put(StepFinished(session.call.name, result, time.time() - started, started))

        cache = ScoreCache(here[0].cache / SCORES)
        sessions = [Session(call, cache) for call in here]
        tuning = Tuning(
            name, str(self._storage), self._resources.attempts, lambda: self._shutdown.is_requested or self._closed
        )
        before = sum(session.log.seconds for session in sessions)
        if run_searches(sessions, workers, on_trial, tuning) and warm:
            scored = sum(session.log.seconds for session in sessions) - before
            self._start_ups.note("search", max(0.0, time.time() - started - scored / len(workers)))

    def _worker_room(self) -> int:
        """Warm workers that fit beside the banks that run or wait, on the nodes that there are now."""
        return worker_slots(self._cluster.nodes(), self._resources, self._active("bank") + bool(self._trainings))


def _conclusion(session: Session) -> JobResult | Exception:
    """The search's outcome; a failure must not end the Tune run, in which other searches go on."""
    try:
        return conclude(session)
    except Exception as error:  # noqa: BLE001 - the step's failure is its outcome
        return error
