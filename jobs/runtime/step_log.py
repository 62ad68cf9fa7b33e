"""What a worker has to say of a step beside its result: warnings, errors and tracebacks, on their way to the driver."""

from __future__ import annotations

import logging
import os
import socket
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from jobs.runtime.library_faults import panics_as_faults
from jobs.runtime.redaction import redacted

MOST_ALIKE = 5  # of one message about one call; training can warn at every optimizer step
LONGEST = 20_000  # characters of a message
# Libraries that keep their messages from the root logger.
LOGGERS = ("", "transformers", "datasets", "adapters")


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line of a step's log. `level`: info, warning or error; `time`: seconds since 1970; secrets are hidden."""

    step: str
    time: float
    level: str
    message: str
    host: str
    pid: int


Send = Callable[[LogEntry], None]


def no_log(entry: LogEntry) -> None:
    """A note that nobody keeps."""


def log_entry(step: str, level: str, message: str, when: float = 0.0) -> LogEntry:
    """A note of this process, now or at `when`."""
    text = redacted(message)
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST]} ... {len(text) - LONGEST} characters more"
    return LogEntry(step, when or time.time(), level, shown, socket.gethostname(), os.getpid())


def failure(step: str, error: BaseException) -> LogEntry:
    """The traceback of a step that failed."""
    return log_entry(step, "error", "".join(traceback.format_exception(error)).rstrip())


@contextmanager
def logged(steps: Sequence[str], send: Send) -> Iterator[None]:
    """Send what this process logs at level WARNING or above, and its `warnings`, as notes of all `steps`.

    A panic of a native library on the way becomes InputError: it ends these steps, not the process.
    """
    handler = _Handler(steps, send)
    logging.captureWarnings(True)
    for name in LOGGERS:
        logging.getLogger(name).addHandler(handler)
    try:
        with panics_as_faults():
            yield
    finally:
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(handler)
        logging.captureWarnings(False)


class _Handler(logging.Handler):
    def __init__(self, steps: Sequence[str], send: Send) -> None:
        super().__init__(logging.WARNING)
        self._steps, self._send = tuple(steps), send
        self._seen: Counter[str] = Counter()
        self._last: logging.LogRecord | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record; nothing that goes wrong on the way may stop the step."""
        if record is self._last:
            return  # a library that does pass its messages on to the root logger
        self._last = record
        try:
            text = self.format(record)
            self._seen[text] += 1
            if self._seen[text] > MOST_ALIKE:
                return
            last = " (the last of many alike that is kept)" if self._seen[text] == MOST_ALIKE else ""
            level = "error" if record.levelno >= logging.ERROR else "warning"
            for step in self._steps:
                self._send(log_entry(step, level, f"{record.name}: {text}{last}", record.created))
        except Exception:  # noqa: BLE001 - logging's own rule: it reports on standard error
            self.handleError(record)
