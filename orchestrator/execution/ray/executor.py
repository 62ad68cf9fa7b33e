"""RayExecutor: banks as Ray Train jobs, searches as Ray Tune runs, everything else on warm workers.

Ray ends in a process in order: its threads first, then what they use, then Ray itself, and no other comes after it.
Ray Train and Ray Tune run in threads of the driver. One that is still at it when Ray is gone would by its next call
start a cluster of its own, which nobody stops.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import ray

from jobs.errors import raise_all
from jobs.ray.mailbox import open_mailbox
from jobs.runtime.shutdown import GRACE_SECONDS, ShutdownRequested
from jobs.runtime.step_log import Send, no_log
from jobs.spec import SearchSpec, TrainingSpec
from orchestrator.campaign.resources import ResourcesSection
from orchestrator.clusters.ray.connect import connect
from orchestrator.execution.executor import StepFinished, StepProgress, Work
from orchestrator.execution.ray.metrics import CampaignMetrics
from orchestrator.execution.ray.runners import BankRunner, SearchRunner
from orchestrator.execution.ray.worker_pool import ClusterNodes, WorkerPool
from orchestrator.execution.shutdown import ShutdownRequest
from orchestrator.scheduling.capacity import Debounce, bank_slots, infeasible, worker_slots
from orchestrator.scheduling.startup_times import StartupLog

ENVIRONMENT = {
    # How often Train looks at its workers: soon enough for a short bank's end, seldom enough to cost a core 2 % a bank.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
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

_LOOK = 0.25  # seconds of waiting for outcomes, between two looks at everything else
LONGEST_END = 120.0  # seconds that Train and Tune may take to end when all their steps have
LAST_SECONDS = 5.0  # and once more after their workers were stopped
QUIET_SECONDS = 5.0  # of waiting, before a word is said
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Run:
    """The run that an executor works for: its campaign's name, and whether it has been told to end."""

    campaign: str = ""
    shutdown: ShutdownRequest = field(default_factory=ShutdownRequest)


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
        self._resources = resources
        self._cluster = ClusterNodes()
        raise_all(infeasible(resources, self._cluster.nodes()))
        self._notes, self._metrics = notes, CampaignMetrics(run.campaign)
        self._shutdown, self._told, self._closed = run.shutdown, False, False
        self._mailbox, self._startup_log = open_mailbox(), StartupLog(workspace)
        self._pool = WorkerPool(resources, self._mailbox.name)
        storage = workspace / "ray"
        self._banks = BankRunner(resources, storage, self._mailbox.name, self._metrics, self._startup_log)
        self._searches = SearchRunner(storage, resources, self._is_shutting_down, self._startup_log)
        self._running: dict[str, float] = {}
        self._settling = Debounce()

    def submit(self, works: Sequence[Work]) -> None:
        """Sort the steps: training into banks, searches into the next Tune run, others to warm workers."""
        self._check_open()
        for work in works:
            self._running[work.step.key] = time.time()
            if isinstance(work.step.spec, TrainingSpec):
                self._banks.submit(work)
            elif isinstance(work.step.spec, SearchSpec):
                self._searches.submit(work)
            else:
                self._pool.run(work.call)
                continue
            self._settling.news(time.monotonic())
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
                self._start_what_can()
            for seconds in self._pool.born():
                self._startup_log.note("worker", seconds)
            events = [*self._collect(min(max(deadline - time.time(), 0.0), _LOOK)), *self._pool.lost()]
            for event in events:
                if isinstance(event, StepFinished):
                    self._running.pop(event.key, None)
            self._metrics.take(events, self._running)
            if self._told and not events and not (under_way and self._shutdown.seconds_left):
                raise ShutdownRequested
            if events or time.time() >= deadline:
                return events

    def _broadcast_shutdown(self) -> None:
        """Tell the workers, once: trainings save and leave, searches end with the trials that live."""
        if not self._told:
            self._told = True
            ray.get(self._mailbox.actor.request_shutdown.remote())

    def _under_way(self) -> bool:
        return bool(self._banks.active or self._searches.active or self._pool.is_at_work())

    def _is_shutting_down(self) -> bool:
        return self._shutdown.is_requested or self._closed

    def close(self) -> None:
        """Stop the threads, then what they use, then the cluster if it was started here; nothing starts afterwards.

        Steps under way are told to save their state and leave. Threads are waited for: within the grace period when
        steps are left, else up to LONGEST_END; a signal ends the wait. All is stopped whatever fails on the way.
        """
        if self._closed:
            return
        self._closed = True
        runs = [*self._banks.runs, *self._searches.runs]
        with ExitStack() as afterwards:  # from below
            if self._own_cluster:
                afterwards.callback(ray.shutdown)
            afterwards.callback(wait_once_more, runs, self._shutdown)
            afterwards.callback(ray.kill, self._mailbox.actor)
            afterwards.callback(self._pool.release)
            if self._running:
                self._mailbox.actor.request_shutdown.remote()
            wait_for(runs, GRACE_SECONDS if self._running else LONGEST_END, self._shutdown)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the executor was closed")

    def _start_what_can(self) -> None:
        nodes, settled = self._cluster.nodes(), time.monotonic() >= self._settling.over
        if settled:
            self._banks.start(bank_slots(nodes, self._resources))
        room = worker_slots(nodes, self._resources, self._banks.active + bool(self._banks.waiting))
        if settled:
            self._searches.start(self._pool, room)
        self._pool.fit(room, self._searches.lent)

    def _collect(self, seconds: float) -> list[StepFinished | StepProgress]:
        """What has happened; waits for outcomes, `seconds` at most, where nothing else has come."""
        banks, searches = self._banks.over(), self._searches.over()
        searched = self._searches.events()
        wait = 0.0 if banks or searches or searched else seconds
        # Drained after it was seen what is over: what a job sent before it ended is here by now.
        outcomes, progress, notes = ray.get(self._mailbox.actor.drain.remote(wait))
        for said in notes:
            self._notes(said)
        events: list[StepFinished | StepProgress] = [StepProgress(name, values) for name, values in progress.items()]
        for name, outcome, started in outcomes:
            self._pool.done(name)
            events.append(StepFinished(name, outcome, time.time() - started, started))
        self._banks.take(events, banks)
        events += searched
        ended = {event.key for event in events if isinstance(event, StepFinished)}
        for run in (*banks, *searches):
            self._settling.news(time.monotonic())
            lost = (key for key in run.keys if key in self._running and key not in ended)
            events += [StepFinished(key, run.failure) for key in lost]
        return events


def wait_for(threads: Collection[threading.Thread], seconds: float, shutdown: ShutdownRequest) -> list[str]:
    """Wait until all have ended, at most `seconds` or what the shutdown leaves. Returns who goes on."""
    begun = time.monotonic()
    silent = True
    while alive := [thread for thread in threads if thread.is_alive()]:
        waited = time.monotonic() - begun
        left = min(seconds - waited, shutdown.seconds_left)
        if left <= 0:
            break
        if silent and waited > QUIET_SECONDS:
            silent = False
            names = ", ".join(thread.name for thread in alive)
            _LOG.warning("waiting up to %.0f s more for work on Ray to end (%s); Ctrl-C ends the wait", left, names)
        alive[0].join(min(left, 0.1))
    return [thread.name for thread in alive]


def wait_once_more(threads: Collection[threading.Thread], shutdown: ShutdownRequest) -> None:
    """For those whose workers are gone by now; tells who goes on all the same."""
    names = ", ".join(wait_for(threads, LAST_SECONDS, shutdown))
    if names:
        _LOG.warning("%s did not end in time: Ray is stopped all the same, and they cannot start another", names)
