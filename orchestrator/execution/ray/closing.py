"""How Ray ends in a process: its threads first, then what they use, then Ray itself, and no other comes after it.

Ray Train and Ray Tune run in threads of the driver. One that is still at it when Ray is gone would by its next call
start a cluster of its own, which nobody stops.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection

from orchestrator.execution.shutdown import ShutdownRequest

LONGEST_END = 120.0  # seconds that Train and Tune may take to end when all their steps have
LAST_SECONDS = 5.0  # and once more after their workers were stopped
QUIET_SECONDS = 5.0  # of waiting, before a word is said
_LOG = logging.getLogger(__name__)


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
