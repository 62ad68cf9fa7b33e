"""What the loop and its executors agree on: work, its events, and the protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from jobs.spec import JobCall, JobResult
from orchestrator.store.record import Record
from orchestrator.store.step import Step

State = Literal["reused", "running", "succeeded", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Work:
    """A step that is ready, and the call that carries it out. `rank`: its place in the run; the lowest goes first."""

    step: Step
    call: JobCall[Any]
    rank: int = 0


@dataclass(frozen=True, slots=True)
class StepFinished:
    """What became of one submitted step: a result, or the error. `seconds`: its share of wall-clock."""

    key: str
    outcome: JobResult | Exception
    seconds: float = 0.0
    started: float = 0.0


@dataclass(frozen=True, slots=True)
class StepProgress:
    """Progress of a running step, for display alone."""

    key: str
    values: Mapping[str, float]


class Executor(Protocol):
    """Carries out ready steps. Both executors give the same records."""

    name: str

    def submit(self, works: Sequence[Work]) -> None:
        """Take over steps whose inputs are finished; may group them. Does not block for long."""

    def poll(self, timeout: float) -> Sequence[StepFinished | StepProgress]:
        """What happened since the last poll; waits at most `timeout` seconds when nothing did.

        Raises ShutdownRequested when the run was told to end and what was under way has finished or saved its state.
        """

    def close(self) -> None:
        """Stop what still runs and let go of all resources."""


@dataclass(frozen=True, slots=True)
class StepStateChanged:
    """A step's new state, for logs and displays. `record` when it is finished, `error` when it failed."""

    step: Step
    state: State
    record: Record | None = None
    error: str = ""


Watcher = Callable[[StepStateChanged | StepProgress], None]


class LazyExecutor:
    """Starts the real executor with the first step, so that a run with nothing to do starts nothing."""

    def __init__(self, start: Callable[[], Executor], name: str) -> None:
        """`start` makes the executor."""
        self._start = start
        self._made: Executor | None = None
        self._closed = False
        self.name = name

    def submit(self, works: Sequence[Work]) -> None:
        """Start on first use. Raises RuntimeError when it was closed."""
        if self._closed:
            raise RuntimeError("the executor was closed")
        self._made = self._made or self._start()
        self._made.submit(works)

    def poll(self, timeout: float) -> Sequence[StepFinished | StepProgress]:
        """Nothing happens before the first submit."""
        return self._made.poll(timeout) if self._made else ()

    def close(self) -> None:
        """Close what was started; nothing starts afterwards."""
        self._closed = True
        if self._made:
            self._made.close()
