"""What a run leaves for others to watch: events.jsonl (every change) and status.json (the state now)."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.errors import Fault, InputError
from jobs.files.atomic import write_text
from orchestrator.execution.executor import Executor, StepProgress, StepStateChanged
from orchestrator.store.layout import campaign_folder


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that failed: `when` in seconds since 1970."""

    key: str
    error: str
    when: float

    @property
    def digest(self) -> str:
        """What the ledger knows the failure by."""
        return f"failed {hashlib.sha256(self.error.encode()).hexdigest()}"


def failures(workspace: Path, campaign: str) -> dict[str, Failure]:
    """Steps whose last word in events.jsonl is that they failed."""
    last: dict[str, Failure | None] = {}
    for event in events(campaign_folder(workspace, campaign) / "events.jsonl"):
        key, kind = event.get("key"), event["event"]
        if key and kind == "failed":
            last[key] = Failure(key, str(event.get("error") or "no message"), float(event.get("time", 0)))
        elif key and kind in {"succeeded", "reused"}:
            last[key] = None
    return {key: failure for key, failure in last.items() if failure}


def events(file: Path) -> Iterator[dict[str, Any]]:
    """The events of a log, oldest first; a line that a kill cut, or that is being written, is left out."""
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    for line in text.rpartition("\n")[0].splitlines():
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and "event" in event:
                yield event


@dataclass(frozen=True, slots=True)
class Events:
    """The latest run's part of the event log: keys by what happened to them, and errors of failed steps.

    A finished step that is not in `executed` was reused, or made by an earlier run.
    """

    executed: frozenset[str] = frozenset()
    skipped: frozenset[str] = frozenset()
    failed: tuple[tuple[str, str], ...] = ()


def read_events(file: Path, finished: frozenset[str]) -> Events:
    """What the latest run did; a step that failed but has a record by now (`finished`) is no failure."""
    latest = runs_of(list(events(file)))[-1]
    keys = {
        name: frozenset(event["key"] for event in latest if event["event"] == name and event.get("key"))
        for name in ("succeeded", "skipped")
    }
    failed = {event["key"]: str(event.get("error", "")) for event in latest if event["event"] == "failed"}
    return Events(
        executed=keys["succeeded"],
        skipped=keys["skipped"] - finished,
        failed=tuple((key, error) for key, error in failed.items() if key not in finished),
    )


def runs_of(log: Sequence[dict[str, Any]]) -> list[Sequence[dict[str, Any]]]:
    """The events run by run, the latest last; what opens a run is `started` without a key."""
    starts = [at for at, event in enumerate(log) if event["event"] == "started" and not event.get("key")]
    return [log[begin:end] for begin, end in zip(starts or [0], [*starts[1:], len(log)], strict=True)]


WRITE_EVERY = 1.0  # seconds between two versions of status.json
_STATUS = {"outcome", "updated", "total", "counts", "running", "errors"}


class EventLog:
    """A watcher of `execute` that writes into the campaign's directory."""

    def __init__(self, folder: Path, total: int) -> None:
        """`total`: steps of the plan."""
        folder.mkdir(parents=True, exist_ok=True)
        self._status_file = folder / "status.json"
        self._events = (folder / "events.jsonl").open("a", encoding="utf-8")
        self._states: dict[str, str] = {}
        self._moving: dict[str, dict[str, float]] = {}
        self._errors: dict[str, str] = {}
        self._total, self._started, self._written = total, time.time(), 0.0
        self._event("started", steps=total, pid=os.getpid())

    def __call__(self, event: StepStateChanged | StepProgress) -> None:
        """Note one event."""
        if isinstance(event, StepProgress):
            self._moving[event.key] = dict(event.values)
        else:
            self._states[event.step.key] = event.state
            if event.state != "running":
                self._moving.pop(event.step.key, None)
            if event.error:
                self._errors[event.step.key] = event.error
            if event.state != "reused":
                self._event(event.state, key=event.step.key, **({"error": event.error} if event.error else {}))
        if time.time() - self._written > WRITE_EVERY:
            with suppress(OSError):  # as in `_event`
                self._write("running")

    def timed(self, start: Callable[[], Executor]) -> Executor:
        """Start the executor and note how long it took: a cluster of its own takes seconds."""
        begun = time.time()
        executor = start()
        self._event("executor", seconds=round(time.time() - begun, 3))
        return executor

    def close(self, outcome: str) -> None:
        """Last event and status; `outcome`: finished, failed or interrupted. Raises OSError on a full disk."""
        self._event("finished", outcome=outcome, counts=dict(Counter(self._states.values())))
        self._write(outcome)
        self._events.close()

    def _event(self, name: str, **facts: Any) -> None:
        # On a full disk steps fail one by one and the run goes on; what does not fit into the buffer
        # is lost, and `close` raises.
        with suppress(OSError):
            self._events.write(json.dumps({"time": round(time.time(), 3), "event": name, **facts}) + "\n")
            self._events.flush()

    def _write(self, outcome: str) -> None:
        running = [key for key, state in self._states.items() if state == "running"]
        status = {
            "outcome": outcome,
            "pid": os.getpid(),
            "started": self._started,
            "updated": time.time(),
            "total": self._total,
            "counts": dict(Counter(self._states.values())),
            "running": {key: self._moving.get(key, {}) for key in running},
            "errors": self._errors,
        }
        write_text(self._status_file, json.dumps(status, indent=1))
        self._written = time.time()


def read_status(folder: Path) -> dict[str, Any] | None:
    """The latest status, or None when the campaign never ran here. Raises InputError for a file that holds none."""
    file = folder / "status.json"
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_bytes())
        if found.keys() >= _STATUS:
            return dict(found)
    except (ValueError, AttributeError, RecursionError):
        pass
    todo = "remove it: the next run writes it anew; finished steps are not touched"
    raise InputError(Fault("the file holds no status", str(file), todo=todo))
