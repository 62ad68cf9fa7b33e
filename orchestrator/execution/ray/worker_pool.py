"""The pool of warm workers: grown to what is free, released when training needs the room."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray

from jobs.ray.worker import WarmWorker
from jobs.spec import JobCall
from orchestrator.campaign.resources import ResourcesSection
from orchestrator.execution.executor import StepFinished
from orchestrator.scheduling.capacity import Node

FRESH_SECONDS = 1.0
AT_HAND = 2  # calls that a worker holds: the next one is there when the first comes back


class ClusterNodes:
    """The nodes that are alive, asked for at most once a second."""

    def __init__(self) -> None:
        """Ray is connected."""
        self._nodes: list[Node] = []
        self._asked = float("-inf")

    def nodes(self) -> list[Node]:
        """Resources of each node that is alive."""
        if time.monotonic() - self._asked >= FRESH_SECONDS:
            self._nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            self._asked = time.monotonic()
        return self._nodes


@dataclass(slots=True)
class _Running:
    call: JobCall[Any]
    worker: int
    reference: Any


class WorkerPool:
    """Warm workers and the calls that they run."""

    def __init__(self, resources: ResourcesSection, mailbox: str) -> None:
        """Starts nothing yet."""
        self._resources, self._mailbox = resources, mailbox
        self._workers: list[Any] = []
        self._waiting: deque[JobCall[Any]] = deque()
        self._running: dict[str, _Running] = {}
        self._births: dict[Any, float] = {}  # of workers that start: an answer to wait for, and since when

    def run(self, call: JobCall[Any]) -> None:
        """Have a call wait for a worker; `fit` gives it to one."""
        self._waiting.append(call)

    def done(self, name: str) -> None:
        """The outcome of a call has arrived."""
        self._running.pop(name, None)

    def born(self) -> list[float]:
        """Seconds that workers took until they were there; told once of each."""
        if not self._births:
            return []
        came, _ = ray.wait(list(self._births), num_returns=len(self._births), timeout=0)
        return [time.monotonic() - self._births.pop(reference) for reference in came]

    def is_starting(self) -> bool:
        """Whether a worker is not there yet."""
        return bool(self._births)

    def lost(self) -> list[StepFinished]:
        """Calls whose worker died for good, as failures."""
        if not self._running:
            return []
        references = {running.reference: name for name, running in self._running.items()}
        ended, _ = ray.wait(list(references), num_returns=len(references), timeout=0)
        failures = []
        for reference in ended:
            try:
                ray.get(reference)
            except ray.exceptions.RayError as error:
                failures.append(StepFinished(references[reference], error))
                self.done(references[reference])
        return failures

    def is_at_work(self) -> bool:
        """Whether a call has not come back yet."""
        references = [running.reference for running in self._running.values()]
        return bool(references) and bool(ray.wait(references, num_returns=len(references), timeout=0)[1])

    def fit(self, room: int, lent: int) -> None:
        """Start or stop workers so that at most `room` are there; idle ones only, and none of the first `lent`. Then
        give them the calls that wait.

        With calls to run there is always one worker, if need be one that waits for a place.
        """
        calls = len(self._running) + len(self._waiting)
        wanted = max(min(room, calls), 1 if calls else 0, lent)
        busy = {running.worker for running in self._running.values()}
        while len(self._workers) > max(room, wanted) and len(self._workers) - 1 not in busy:
            ray.kill(self._workers.pop())
        self.lend(wanted)
        loads = [sum(running.worker == n for running in self._running.values()) for n in range(len(self._workers))]
        for worker in next_workers(loads, len(self._waiting)):
            call = self._waiting.popleft()
            self._running[call.name] = _Running(call, worker, self._workers[worker].run.remote(call))

    def lend(self, count: int) -> list[Any]:
        """The first `count` workers, started where they are not there yet; `fit` must be told of them."""
        while len(self._workers) < count:
            self._workers.append(self._start())
        return self._workers[:count]

    def release(self) -> None:
        """Stop all workers; the next call starts new ones."""
        for worker in self._workers:
            ray.kill(worker)
        self._workers.clear()
        self._waiting.clear()
        self._running.clear()
        self._births.clear()

    def _start(self) -> Any:
        actor: Any = ray.remote(WarmWorker)
        started = actor.options(
            num_cpus=self._resources.cpus_per_evaluator,
            num_gpus=self._resources.gpus_per_evaluator,
            max_restarts=-1,
            max_task_retries=self._resources.attempts - 1,
            scheduling_strategy="SPREAD",
        ).remote(self._mailbox)
        self._births[started.ready.remote()] = time.monotonic()
        return started


def next_workers(loads: Sequence[int], waiting: int) -> list[int]:
    """Which workers get the calls that wait, in turn: the one with the fewest first, none more than `AT_HAND`.

    `loads`: calls that each has. The others go on waiting, for workers that come later too.
    """
    loads = list(loads)
    chosen: list[int] = []
    while loads and len(chosen) < waiting and min(loads) < AT_HAND:
        worker = loads.index(min(loads))
        loads[worker] += 1
        chosen.append(worker)
    return chosen
