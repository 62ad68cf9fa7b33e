"""What a process spends its time on: loading models, preparing data and writing are told; the rest is computing."""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

from jobs.spec import JobResult, Stretch

Phase = Literal["loading", "preparing", "writing"]
COMPUTING = "computing"
GAP = 1.0  # seconds between two candidates of a search, up to which a worker's stretches are told as one
_DIGITS = 1000  # milliseconds


class _Clock(threading.local):
    """Seconds of this thread by phase since it began, and the phases that are open, the innermost last."""

    def __init__(self) -> None:
        self.spent: dict[Phase, float] = {}
        self._open: list[Phase] = []
        self._since = 0.0

    def enter(self, name: Phase) -> None:
        self.charge()
        self._open.append(name)

    def leave(self) -> None:
        self.charge()
        self._open.pop()

    def charge(self) -> None:
        """Count the time since it was asked last for the innermost phase."""
        now = time.perf_counter()
        if self._open:
            self.add(self._open[-1], now - self._since)
        self._since = now

    def add(self, name: Phase, seconds: float) -> None:
        self.spent[name] = self.spent.get(name, 0.0) + seconds


_CLOCK = _Clock()


@contextmanager
def phase(name: Phase) -> Iterator[None]:
    """Count the time of the block, or of the function that it decorates, as `name`; never around a `yield`.

    What is inside a phase of its own counts there alone. Costs a microsecond; each thread counts for itself.
    """
    _CLOCK.enter(name)
    try:
        yield
    finally:
        _CLOCK.leave()


class Stopwatch:
    """What this thread's process does for a step, from now on."""

    def __init__(self, starting: float = 0.0) -> None:
        """`starting`: seconds in which the process came up, just before; 0 where it was there already."""
        self._starting = starting
        self._started, self._begun = time.time(), time.perf_counter()
        _CLOCK.charge()
        self._before = dict(_CLOCK.spent)

    def stretch(self, workers: int = 1) -> Stretch:
        """Everything until now; `workers`: processes that did the same at once. To be asked in the same thread.

        Seconds by phase are rounded down, and the whole up: their sum is never more than the whole.
        """
        _CLOCK.charge()
        seconds = time.perf_counter() - self._begun
        since = ((str(name), spent - self._before.get(name, 0.0)) for name, spent in _CLOCK.spent.items())
        told = {name: spent for name, spent in since if spent > 0}
        phases: dict[str, float] = {**told, COMPUTING: max(0.0, seconds - math.fsum(told.values()))}
        return Stretch(
            worker=f"{socket.gethostname()}:{os.getpid()}",
            started=round(self._started, 3),
            seconds=math.ceil(seconds * _DIGITS) / _DIGITS,
            phases={name: math.floor(spent * _DIGITS) / _DIGITS for name, spent in phases.items()},
            cores=workers * _threads(),
            of=_cores(),
            starting=round(self._starting, 3),
        )

    def on(self, outcome: JobResult | Exception, workers: int = 1) -> JobResult | Exception:
        """The outcome with what it took until now; an exception as it is. `workers`: as in `stretch`."""
        return replace(outcome, work=(self.stretch(workers),)) if isinstance(outcome, JobResult) else outcome

    def away(self, since: float) -> None:
        """From `since` (of `time.perf_counter`) until now the driver, in this thread, kept what was finished."""
        _CLOCK.add("writing", time.perf_counter() - since)


def joined(stretches: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """In the order of their beginnings; those of one worker that follow each other within `GAP` are one."""
    found: list[Stretch] = []
    latest: dict[str, int] = {}
    for one in sorted(stretches, key=lambda one: one.started):
        at = latest.get(one.worker)
        if at is None or one.started - found[at].started - found[at].seconds > GAP:
            latest[one.worker] = len(found)
            found.append(one)
            continue
        before = found[at]
        names = before.phases.keys() | one.phases.keys()
        phases = {name: round(before.phases.get(name, 0.0) + one.phases.get(name, 0.0), 3) for name in sorted(names)}
        seconds = max(before.seconds, round(one.started - before.started + one.seconds, 3))
        found[at] = replace(before, seconds=seconds, phases=phases)
    return tuple(found)


def _threads() -> int:
    """Threads that torch computes with."""
    import torch

    return int(torch.get_num_threads())


def _cores() -> int:
    """Cores of this machine that the process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
