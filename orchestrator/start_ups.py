"""How long processes took to start on this workspace's cluster: kept by runs, used by simulations."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from jobs.job import JobResult
from orchestrator.sealed import opened, sealed
from orchestrator.simulate_engine import Overheads

Kind = Literal["bank", "worker", "search"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FILE = "start-ups.jsonl"
LATEST = 20  # of each kind count: a cluster changes


class StartUpLog:
    """Appends to `<workspace>/start-ups.jsonl`; safe from any thread."""

    def __init__(self, workspace: Path) -> None:
        """Touches nothing yet."""
        self._file, self._lock = workspace / FILE, threading.Lock()

    def note(self, kind: Kind, seconds: float) -> None:
        """Keep that a start took so long."""
        with self._lock:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(sealed({"kind": kind, "seconds": round(seconds, 3)}) + "\n")


class BankClock:
    """What of a bank's job was no training: its start, the loading of its models, its end."""

    def __init__(self, together: bool) -> None:
        """The job begins now. `together`: its adapters train in one batch, as languages do, or one after another."""
        self._together = together
        self._begun, self._results = time.monotonic(), list[JobResult]()

    def take(self, outcome: JobResult | Exception) -> None:
        """An adapter is trained."""
        if isinstance(outcome, JobResult):
            self._results.append(outcome)

    def beside(self) -> float | None:
        """Seconds until now beside the training.

        None for a job without a result, and for one that went on from a checkpoint: its results count older seconds.
        """
        spent = [result.metrics["seconds"] for result in self._results]
        if not spent or any(result.details.get("resumed_from_step") for result in self._results):
            return None
        return max(0.0, time.monotonic() - self._begun - (max(spent) if self._together else sum(spent)))


@dataclass(frozen=True, slots=True)
class StartUps:
    """What a simulation takes for starts, and where each number is from."""

    overheads: Overheads
    sources: Mapping[Kind, str]

    def sentence(self) -> str:
        """`start-up: bank 9.1 s (measured 4 times in this workspace), worker ...`."""
        return "start-up: " + ", ".join(
            f"{kind} {getattr(self.overheads, kind):.1f} s ({source})" for kind, source in self.sources.items()
        )


def known_start_ups(workspace: Path, assumed: Mapping[Kind, float]) -> StartUps:
    """As `assumed`, else medians of the latest of each kind in this workspace, else the built-in numbers."""
    latest: dict[str, deque[float]] = {kind: deque(maxlen=LATEST) for kind in KINDS}
    file = workspace / FILE
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        found = opened(line)
        if found is not None and found["kind"] in latest:
            latest[found["kind"]].append(found["seconds"])
    known: dict[str, float] = {kind: statistics.median(seconds) for kind, seconds in latest.items() if seconds}
    sources: dict[Kind, str] = {}
    for kind in KINDS:
        measured = f"measured {len(latest[kind])} times in this workspace" if kind in known else "built in"
        sources[kind] = "as assumed" if kind in assumed else measured
    known |= {str(kind): seconds for kind, seconds in assumed.items()}
    return StartUps(replace(Overheads(), **known), sources)
