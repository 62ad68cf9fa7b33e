"""What goes wrong inside a driver's process: disks, clocks, a language's data. Each is set up in the forked run."""

from __future__ import annotations

import errno
import io
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WRITES = ("fsync", "replace")  # points at which a run may be hit: it syncs a file, it renames one


def at_nth(point: str, count: int, act: Callable[[], None], workspace: str) -> None:
    """Call `act` when this process does `point` for the `count`th time, `replace` below the workspace alone."""
    left = [count]
    real: Any = getattr(os, point)

    def counted(*arguments: Any, **options: Any) -> Any:
        if point != "replace" or str(arguments[0]).startswith(workspace):
            left[0] -= 1
            if left[0] == 0:
                act()
        return real(*arguments, **options)

    setattr(os, point, counted)


def kill() -> None:
    """As the kernel does it when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def signal_self(number: int) -> Callable[[], None]:
    """Sends a signal to the process that calls it."""
    return lambda: os.kill(os.getpid(), number)


def in_the_last_second(act: Callable[[], None], point: str) -> None:
    """Call `act` once the last record is there, as the executor is closed (`close`) or the report begins (`report`)."""
    from orchestrator import run

    place, name = (run.LazyExecutor, "close") if point == "close" else (run, "write_report")
    real: Any = getattr(place, name)

    def hit(*arguments: Any) -> Any:
        act()
        return real(*arguments)

    setattr(place, name, hit)


def write_error(number: int = errno.EIO) -> None:
    """What a bad or full disk answers."""
    raise OSError(number, os.strerror(number))


def upload_fails(count: int) -> None:
    """The `count`th upload of this process to a bucket fails."""
    from jobs.files.bucket import Bucket, BucketError

    left, real = [count], Bucket.upload

    def counted(bucket: Bucket, files: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise BucketError(f"{bucket.uri}: the bucket is out of order")
        real(bucket, files)

    Bucket.upload = counted


def slow_disk(seconds: float) -> None:
    """Every sync takes that long."""
    real = os.fsync

    def late(handle: int) -> None:
        time.sleep(seconds)
        real(handle)

    os.fsync = late


def jumping_clock(rng: random.Random) -> None:
    """The wall clock jumps by up to ten days, forth and back, about every hundredth time somebody looks."""
    real, offset = time.time, [0.0]

    def jumps() -> float:
        if rng.random() < 0.01:
            offset[0] = rng.uniform(-864000, 864000)
        return real() + offset[0]

    time.time = jumps


def unreadable(name: str) -> None:
    """Reading that file fails, every time: a language that cannot be trained."""
    real = io.open

    def fails(file: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(file, (str, Path)) and Path(file).name == name:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))
        return real(file, *arguments, **options)

    io.open = fails
    import builtins

    builtins.open = fails


def tear(file: Path, rng: random.Random) -> None:
    """Cut the file short, or change one of its bytes."""
    content = bytearray(file.read_bytes())
    if rng.random() < 0.5 or not content:
        file.write_bytes(content[: rng.randrange(len(content) + 1) // 2])
    else:
        content[rng.randrange(len(content))] ^= 0xFF
        file.write_bytes(content)
