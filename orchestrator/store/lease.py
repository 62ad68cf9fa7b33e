"""One run at a time in a bucket, where no kernel holds a lock: a lease that its holder renews.

    locks/run-<generation>.json     written only where none is; the highest generation is the one that counts

The holder writes its object again every few seconds. Whoever comes later compares that object's time with the time
of one that it writes itself: both are the server's, so that no clock of a machine matters. A lease that was not
renewed for `EXPIRY` is taken over by creating the next generation, which only one can; the old holder, should it
still live, finds the higher generation and stops. A holder that this machine's kernel knows to be dead needs no wait.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from jobs.errors import Fault, InputError
from jobs.files.bucket import Bucket, BucketError

BEAT = 10.0  # seconds between two renewals
EXPIRY = 60.0  # seconds without a renewal after which the lease is free
PREFIX = "locks/run-"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease. `process` names a process beyond its id: boot, namespace, id, time of start."""

    campaign: str
    host: str
    pid: int
    since: str
    process: str

    def __str__(self) -> str:
        return f"campaign {self.campaign}, process {self.pid} on {self.host} since {self.since}"


class Lease:
    """A context in which this process is the only one that runs campaigns in the bucket."""

    def __init__(self, bucket: Bucket, campaign: str, beat: float = BEAT, expiry: float = EXPIRY) -> None:
        """Asks for nothing yet. `beat`, `expiry`: seconds."""
        self._bucket, self._beat, self._expiry = bucket, beat, expiry
        since = time.strftime("%F %T UTC", time.gmtime())
        self._me = Holder(campaign, socket.gethostname(), os.getpid(), since, _process(os.getpid()))
        self._generation = 0
        self._lost = ""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        """Take the lease. Raises InputError that says who holds it, where and since when."""
        generations = self._generations()
        idle = self._idle(generations[-1]) if generations else None
        if idle is not None:
            self._refuse(generations[-1], f"{max(0.0, idle):.0f} seconds ago")
        self._generation = (generations[-1] if generations else 0) + 1
        if not self._bucket.create(_key(self._generation), self._content()):
            self._refuse(self._generation, "just now")
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give the lease back."""
        self._end.set()
        self._thread.join()
        if not self._lost:
            self._bucket.delete([_key(number) for number in self._generations() if number <= self._generation])

    def holder(self) -> Holder | None:
        """Who holds the lease now, or None; asks, and takes nothing."""
        generations = self._generations()
        return None if not generations or self._idle(generations[-1]) is None else self._holder(generations[-1])

    def check(self) -> None:
        """Raises InputError when another run has taken the lease over, or it could not be renewed in time."""
        if self._lost:
            todo = "the same command goes on from the records once the other run is over"
            raise InputError(Fault("this run lost the workspace", self._bucket.uri, self._lost, todo))

    def _renew(self) -> None:
        renewed = time.monotonic()
        while not self._end.wait(self._beat):
            try:
                latest = max(self._generations(), default=0)
                if latest != self._generation:
                    self._lost = f"taken over by {self._holder(latest) or 'a run that is over'}"
                    return
                self._bucket.write(_key(self._generation), self._content())
                renewed = time.monotonic()
            except BucketError as fault:
                if time.monotonic() - renewed > self._expiry - self._beat:
                    self._lost = f"not renewed for {self._expiry:g} seconds: {fault}"
                    return

    def _idle(self, generation: int) -> float | None:
        """Seconds since the lease was renewed, by the server's clock; None when it is free."""
        entry, holder = self._bucket.entry(_key(generation)), self._holder(generation)
        if entry is None or holder is None or _is_dead(holder):
            return None
        idle = self._server_time() - entry.modified.timestamp()
        return idle if idle <= self._expiry else None

    def _refuse(self, generation: int, renewed: str) -> None:
        holder = self._holder(generation) or "a run that has just started"
        todo = f"wait for it, or watch it with `adapterfleet status`; killed, it is forgotten after {self._expiry:g} s"
        got = f"{holder}, renewed {renewed}"
        raise InputError(Fault("another run goes on in this workspace", self._bucket.uri, got, todo))

    def _generations(self) -> list[int]:
        keys = self._bucket.list("locks")
        numbers = (key.removeprefix(PREFIX).removesuffix(".json") for key in keys if key.startswith(PREFIX))
        return sorted(int(number) for number in numbers if number.isdigit())

    def _holder(self, generation: int) -> Holder | None:
        text = self._bucket.read(_key(generation))
        try:
            return Holder(**json.loads(text)) if text else None
        except (ValueError, TypeError):
            return None

    def _server_time(self) -> float:
        probe = f"locks/clock-{uuid.uuid4().hex}"
        self._bucket.write(probe, b"")
        entry = self._bucket.entry(probe)
        self._bucket.delete([probe])
        return entry.modified.timestamp() if entry else 0.0

    def _content(self) -> bytes:
        return json.dumps(asdict(self._me)).encode()


def _key(generation: int) -> str:
    return f"{PREFIX}{generation:08d}.json"


def _process(pid: int) -> str:
    """Text that no other process has, as long as this machine runs; empty where the kernel does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        started = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
        return f"{boot} {Path('/proc/self/ns/pid').readlink()} {pid} {started}"
    except (OSError, IndexError):
        return ""


def _is_dead(holder: Holder) -> bool:
    """Whether the holder ran under this very kernel and process namespace, and runs no more."""
    mine = _process(os.getpid()).split()
    theirs = holder.process.split()
    return len(mine) == len(theirs) == 4 and mine[:2] == theirs[:2] and _process(holder.pid) != holder.process
