"""Leaving in order when a process is told to end: a node is taken away with a grace period, a pod is stopped."""

from __future__ import annotations

import atexit
import os
import threading
from types import TracebackType

# Seconds from the signal to the end of the process; below the 30 that Kubernetes gives by default.
GRACE_SECONDS = float(os.environ.get("ADAPTERFLEET_GRACE_SECONDS", "25"))
# Of a run that left because it was told to: EX_TEMPFAIL of sysexits.h, nothing is wrong and the same command goes on.
LEFT = 75


class ShutdownRequested(SystemExit):
    """Raised between two batches or trials of a run that was told to end; a training saves its state on the way."""

    def __init__(self) -> None:
        """Where nobody catches it, it ends the process with `LEFT`."""
        super().__init__(LEFT)


class StopsOnSignal:
    """While it is entered, a process that ends first asks the training to stop, and waits until it has left.

    SIGTERM makes a Ray worker end by `sys.exit` in its main thread, where `atexit` is heard; training runs in another
    thread, which may not handle signals itself. Use as context manager; gives the event that training looks at.
    """

    def __init__(self, grace: float = GRACE_SECONDS) -> None:
        """`grace`: seconds that training has to save its state."""
        self._grace = grace
        self._stop, self._left = threading.Event(), threading.Event()

    def __enter__(self) -> threading.Event:
        atexit.register(self._end)
        return self._stop

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._left.set()
        atexit.unregister(self._end)

    def _end(self) -> None:
        self._stop.set()
        self._left.wait(self._grace)
