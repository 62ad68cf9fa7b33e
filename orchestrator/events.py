"""What a run leaves for others to watch: events.jsonl (every change) and status.json (the state now)."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.execute import Change, Moved

WRITE_EVERY = 1.0  # seconds between two versions of status.json


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

    def __call__(self, event: Change | Moved) -> None:
        """Note one event."""
        if isinstance(event, Moved):
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
        beside = self._status_file.with_suffix(".part")
        beside.write_text(json.dumps(status, indent=1), encoding="utf-8")
        beside.replace(self._status_file)
        self._written = time.time()


def read_status(folder: Path) -> dict[str, Any] | None:
    """The latest status, or None when the campaign never ran here."""
    file = folder / "status.json"
    if not file.is_file():
        return None
    loaded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return loaded
