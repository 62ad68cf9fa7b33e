"""A driver that is told to end: SIGTERM of an eviction, of `jobs stop`, of a service manager.

It starts no more steps, lets those under way finish or save their state, writes its records, gives the workspace
back and ends with exit code 75. All that within a grace period; what is not done by then is left as a kill leaves it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from jobs.runtime.shutdown import GRACE_SECONDS, ShutdownRequested


class ShutdownRequest:
    """Whether the run has been told to end, and how long it may still take. Use as context manager around a run.

    SIGTERM begins it. A second SIGTERM, or the end of the grace period, raises ShutdownRequested in the main thread
    wherever it stands, as Ctrl-C raises KeyboardInterrupt.
    """

    def __init__(self, grace: float = GRACE_SECONDS) -> None:
        """`grace`: seconds from the signal to the end of the process."""
        self._grace = grace
        self._until = float("inf")
        self._earlier: Any = signal.SIG_DFL
        self._listens = False
        self._timer: threading.Timer | None = None

    @property
    def is_requested(self) -> bool:
        """Whether the run has been told to end."""
        return self.seconds_left < float("inf")

    @property
    def seconds_left(self) -> float:
        """Until the grace period is over; infinite before the signal."""
        return max(0.0, self._until - time.monotonic())

    def begin(self) -> None:
        """As SIGTERM does it. Raises ShutdownRequested the second time."""
        if self.is_requested:
            self._until = min(self._until, time.monotonic())  # whoever still waits for something has no time left
            raise ShutdownRequested
        self._until = time.monotonic() + self._grace
        if self._listens:  # to anybody else the second signal would be the end
            self._timer = threading.Timer(self._grace, os.kill, (os.getpid(), signal.SIGTERM))
            self._timer.daemon = True
            self._timer.start()

    def __enter__(self) -> ShutdownRequest:
        """Listen to SIGTERM, where this is the main thread: no other may."""
        if threading.current_thread() is threading.main_thread():
            self._earlier = signal.signal(signal.SIGTERM, self._heard)
            self._listens = True
        return self

    def listen_again(self) -> None:
        """After something else has taken the signal, as `ray.init` does. Nothing where nobody listened."""
        if self._listens:
            signal.signal(signal.SIGTERM, self._heard)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._listens:
            signal.signal(signal.SIGTERM, self._earlier)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self.begin()
