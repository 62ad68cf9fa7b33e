"""How workers talk to the driver: one small actor that collects outcomes and progress until the driver drains it."""

from __future__ import annotations

import asyncio
import pickle
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.runtime.step_log import LogEntry, failure
from jobs.spec import JobResult

NAMESPACE = "adapterfleet"
MOST_NOTES = 10_000  # between two drains
LATEST = 16  # answers that a sender keeps until somebody looks at them
Outcome = tuple[str, JobResult | Exception, float]  # call name, what became of it, time of start


class Mailbox:
    """The actor: keeps every outcome, of progress only the latest per call, and of notes as many as fit.

    What it is told takes no wait, so nothing comes between two lines of a method; who drains it can wait for an outcome
    here, which costs nothing, where asking twenty times a second takes a seventh of a core.
    """

    def __init__(self) -> None:
        self._outcomes: list[Outcome] = []
        self._progress: dict[str, dict[str, float]] = {}
        self._notes: list[LogEntry] = []
        self._shutting_down = False
        self._ended = asyncio.Event()

    def finish(self, outcome: Outcome) -> None:
        """A call has ended."""
        self._progress.pop(outcome[0], None)
        self._outcomes.append(outcome)
        self._ended.set()

    def move(self, name: str, values: dict[str, float]) -> bool:
        """A call has come further. Whether it should leave: the driver was told to end."""
        self._progress[name] = values
        return self._shutting_down

    def request_shutdown(self) -> None:
        """Tell all who ask that they should save their state and leave."""
        self._shutting_down = True

    def is_shutting_down(self) -> bool:
        """Whether the driver was told to end."""
        return self._shutting_down

    def note(self, entry: LogEntry) -> None:
        """Something to keep in a step's log."""
        if len(self._notes) < MOST_NOTES:
            self._notes.append(entry)

    async def drain(self, seconds: float) -> tuple[list[Outcome], dict[str, dict[str, float]], list[LogEntry]]:
        """Everything since the last drain, as soon as there is an outcome, or what there is after `seconds`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), seconds)
        self._ended.clear()
        outcomes, progress, notes = self._outcomes, self._progress, self._notes
        self._outcomes, self._progress, self._notes = [], {}, []
        return outcomes, progress, notes


class OpenMailbox(NamedTuple):
    """The driver's end. `name` finds the actor from any process of the cluster."""

    name: str
    actor: Any


def open_mailbox() -> OpenMailbox:
    """Start a mailbox that lives as long as the driver, and where it lives: other nodes may be lost."""
    name = f"mailbox-{uuid.uuid4().hex}"
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(num_cpus=0, max_restarts=0, scheduling_strategy=here)(Mailbox)
    return OpenMailbox(name, actor.options(name=name, namespace=NAMESPACE).remote())


class Sender:
    """A worker's end of the mailbox; usable as `jobs.spec.Progress`, at most two messages a second per call."""

    def __init__(self, mailbox: str) -> None:
        """`mailbox`: name of the actor."""
        self._mailbox = ray.get_actor(mailbox, namespace=NAMESPACE)
        self._sent: dict[str, float] = {}
        self._answers: list[Any] = []

    def __call__(self, name: str, values: Mapping[str, float]) -> None:
        """Send progress unless the last message of this call is less than half a second old."""
        now = time.monotonic()
        if now - self._sent.get(name, 0.0) >= 0.5:
            self._sent[name] = now
            self._answers = [*self._answers[-LATEST:], self._mailbox.move.remote(name, dict(values))]

    def was_told_to_shut_down(self) -> bool:
        """Whether a message was answered by the shutdown, or the driver is gone; asks nothing and waits for nothing."""
        if not self._answers:
            return False
        come, self._answers = ray.wait(self._answers, num_returns=len(self._answers), timeout=0)
        try:
            return any(ray.get(come))
        except ray.exceptions.RayActorError:  # the mailbox lives where the driver does
            return True

    def asks_for_shutdown(self) -> bool:
        """Whether the driver leaves, asked for now."""
        return bool(ray.get(self._mailbox.is_shutting_down.remote()))

    def note(self, entry: LogEntry) -> None:
        """Send a line of a step's log; see `jobs.runtime.step_log.logged`."""
        self._mailbox.note.remote(entry)

    def finish(self, name: str, outcome: JobResult | Exception, started: float) -> None:
        """Send an outcome and wait until it has arrived: it must not be lost with this process."""
        if isinstance(outcome, Exception):
            self.note(failure(name, outcome))
        ray.get(self._mailbox.finish.remote((name, sendable(outcome), started)))


def sendable(outcome: JobResult | Exception) -> JobResult | Exception:
    """The outcome, or its text where an exception does not survive pickling."""
    if isinstance(outcome, JobResult):
        return outcome
    try:
        pickle.loads(pickle.dumps(outcome))  # noqa: S301 - this process's own bytes
    except Exception as broken:  # noqa: BLE001 - any failure to pickle has the same answer
        return RuntimeError(f"{type(outcome).__name__}: {outcome} (not picklable: {broken})")
    return outcome
