"""Steps that wait for what blocks (a Ray Train job, a Ray Tune run), and the threads in which that goes on."""

from __future__ import annotations

import os
import threading
from bisect import insort
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

from orchestrator.execution.executor import Work


class BlockingRun(threading.Thread):
    """Carries out some steps; `failure` is for those of `keys` that have no outcome when it is over.

    A daemon: a process that ends need not wait for it (see `orchestrator.execution.ray.closing`).
    """

    def __init__(self, name: str, works: Sequence[Work], carry_out: Callable[[str, Sequence[Work]], None]) -> None:
        """`carry_out` blocks; it is given the name and the steps."""
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
    """Steps of one kind: `waiting`, the most urgent first, or in `runs`."""

    def __init__(self, kind: str) -> None:
        """`kind`: how the names of its runs begin."""
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

    def begin(self, works: Sequence[Work], carry_out: Callable[[str, Sequence[Work]], None]) -> BlockingRun:
        """Start a run of steps that waited."""
        begun = {work.step.key for work in works}
        self.waiting = [work for work in self.waiting if work.step.key not in begun]
        run = BlockingRun(next(self._names), works, carry_out)
        self.runs.append(run)
        run.start()
        return run
