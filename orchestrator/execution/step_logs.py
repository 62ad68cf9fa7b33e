"""The log of every step, JSON lines beside the campaign's other files, readable while a run goes on and after it.

    campaigns/<name>/logs/<job>/<name>-<fp12>.jsonl

A line: time (ISO 8601, UTC), level, step, attempt, host, pid, message. `attempt` counts the runs that began the step.
What workers have to say comes through the executor as `jobs.runtime.step_log.LogEntry`; the driver adds begin and end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.runtime.step_log import LogEntry, log_entry
from orchestrator.execution.executor import StepProgress, StepStateChanged

LOGS = "logs"
BEGUN = "begun"


class StepLogs:
    """Writes the logs of a campaign's steps; a watcher of `execute`, and where executors send workers' notes."""

    def __init__(self, folder: Path) -> None:
        """`folder`: the campaign's."""
        self._folder = folder / LOGS
        self._attempts: dict[str, int] = {}

    def __call__(self, event: StepStateChanged | StepProgress) -> None:
        """A step begins or ends; one that is reused or skipped has nothing to say."""
        if isinstance(event, StepProgress):
            return
        key = event.step.key
        if event.state == "running":
            earlier = list(read_log(self._folder.parent, key))
            self._attempts[key] = 1 + max((line["attempt"] for line in earlier), default=0)
            self.add(log_entry(key, "info", BEGUN))
        elif event.state == "succeeded" and event.record is not None:
            self.add(log_entry(key, "info", f"succeeded after {event.record.provenance.get('seconds', 0.0):g} s"))
        elif event.state == "failed":
            self.add(log_entry(key, "error", f"failed: {event.error}"))

    def add(self, entry: LogEntry) -> None:
        """Append one line. On a full disk it is lost, like an event: the step goes on."""
        file = log_file(self._folder.parent, entry.step)
        line = {
            "time": datetime.fromtimestamp(entry.time, UTC).isoformat(timespec="milliseconds"),
            "level": entry.level,
            "step": entry.step,
            "attempt": self._attempts.get(entry.step, 1),
            "host": entry.host,
            "pid": entry.pid,
            "message": entry.message,
        }
        with suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def log_file(folder: Path, key: str) -> Path:
    """Where the log of a step of the campaign in `folder` is."""
    return folder / LOGS / f"{key}.jsonl"


def read_log(folder: Path, key: str) -> Iterator[dict[str, Any]]:
    """The lines of a step's log, oldest first; one that a kill tore is left out."""
    file = log_file(folder, key)
    if not file.is_file():
        return
    for text in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and {"time", "level", "attempt", "host", "message"} <= line.keys():
            yield line


def logged_steps(folder: Path) -> list[str]:
    """Keys of all steps of a campaign that have a log."""
    logs = folder / LOGS
    return sorted(file.relative_to(logs).with_suffix("").as_posix() for file in logs.glob("*/*.jsonl"))
