"""A directory's small changing files, copied into a bucket while they change: checkpoints, trial logs, status files.

One thread looks every few seconds. What is new goes up before what has gone is removed, so that a bank whose node
dies finds checkpoints of one common time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from jobs.files.atomic import write_bytes
from jobs.files.bucket import Bucket, BucketError, safe_names

EVERY = 2.0  # seconds between two looks


class BucketSync:
    """Keeps `prefix` of a bucket like the watched directories. A bucket that does not answer is tried again."""

    def __init__(self, bucket: Bucket, every: float = EVERY) -> None:
        """Starts nothing before the first `watch`."""
        self._bucket, self._every = bucket, every
        self._watched: dict[str, Path] = {}
        self._sent: dict[str, tuple[int, int]] = {}
        self._lock = threading.RLock()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def restore(self, prefix: str, folder: Path) -> None:
        """Bring what the bucket has of `prefix` into `folder`, but never over a file that is there."""
        start = len(prefix) + 1
        for key in self._bucket.list(prefix):
            (name,) = safe_names([key[start:]])
            place = folder / name
            content = None if place.exists() else self._bucket.read(key)
            if content is not None:
                write_bytes(place, content)
                if (mark := _mark(place)) is not None:
                    self._sent[key] = mark

    def watch(self, prefix: str, folder: Path) -> None:
        """Keep `prefix` like `folder` from now on: what goes there goes in the bucket, what `restore` brought too."""
        with self._lock:
            self._watched[prefix] = folder
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="replica", daemon=True)
                self._thread.start()

    def forget(self, prefix: str) -> None:
        """Watch `prefix` no longer; what the bucket has stays."""
        with self._lock:
            self._watched.pop(prefix, None)
            self._sent = {key: mark for key, mark in self._sent.items() if not key.startswith(f"{prefix}/")}

    def sync(self) -> None:
        """One look, now. Raises BucketError."""
        with self._lock:
            found = {key: file for prefix, folder in self._watched.items() for key, file in _files(prefix, folder)}
            changed = {
                key: mark for key, file in found.items() if (mark := _mark(file)) not in (self._sent.get(key), None)
            }
            for key in changed:
                content = _read(found[key])
                if content is not None:
                    self._bucket.write(key, content)
            gone = [key for key in self._sent if key not in found]
            self._bucket.delete(gone)
            self._sent = {key: mark for key, mark in {**self._sent, **changed}.items() if key in found and mark}

    def close(self) -> None:
        """A last look, and no more."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        self.sync()

    def _run(self) -> None:
        while not self._end.wait(self._every):
            _try(self.sync)


def _try(sync: Callable[[], None]) -> None:
    try:
        sync()
    except BucketError:  # an outage: the next look sends what this one could not
        return


def _files(prefix: str, folder: Path) -> list[tuple[str, Path]]:
    """Whole files alone: those that are being written begin with a dot."""
    if not folder.is_dir():
        return []
    files = [file for file in folder.rglob("*") if file.is_file()]
    whole = [f for f in files if not f.name.startswith(".") and f.suffix != ".lock"]
    return [(f"{prefix}/{file.relative_to(folder).as_posix()}", file) for file in whole]


def _mark(file: Path) -> tuple[int, int] | None:
    try:
        facts = file.stat()
    except FileNotFoundError:
        return None
    return facts.st_size, facts.st_mtime_ns


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:  # removed since it was listed
        return None
