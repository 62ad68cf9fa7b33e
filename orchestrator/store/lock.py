"""One run at a time. The kernel holds the lock, so a killed run leaves none behind."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from jobs.errors import Fault, InputError

LOOKS = 5


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold `folder/run.lock`. Raises InputError that says who holds it, at once, when another run does."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "run.lock"
    with file.open("a+", encoding="utf-8") as stream:
        if not _taken(stream):
            todo = "wait for it, or watch it with `adapterfleet status`"
            raise InputError(Fault("another run goes on here", str(file), _holder(file), todo))
        stream.seek(0)
        stream.truncate()
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%F %T")}, stream)
        stream.flush()
        yield


def is_held(folder: Path) -> bool:
    """Whether a run of the campaign goes on now."""
    file = folder / "run.lock"
    if not file.is_file():
        return False
    with file.open("r", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def holder_of(folder: Path) -> tuple[int, str] | None:
    """Process id and host of the run that holds the lock of `folder`; None when nobody does."""
    if not is_held(folder):
        return None
    try:
        found = json.loads((folder / "run.lock").read_text(encoding="utf-8"))
        return int(found["pid"]), str(found["host"])
    except (ValueError, KeyError, TypeError):  # it is writing its name this very moment
        return None


def _taken(stream: TextIO) -> bool:
    """Whether the lock is ours now. Tried a few times: `is_held` looks by holding it for an instant."""
    for _ in range(LOOKS):
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return True
    return False


def _holder(file: Path) -> str:
    try:
        holder = json.loads(file.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):  # the holder is writing its name this very moment
        return "a process that has just started"
