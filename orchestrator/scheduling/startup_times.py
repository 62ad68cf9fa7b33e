"""How long processes took to start on this workspace's cluster: kept by runs, used by simulations."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from orchestrator.scheduling.simulation import Overheads
from orchestrator.store.jsonl import dump_line, parse_line

Kind = Literal["bank", "worker", "search"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FILE = "start-ups.jsonl"
LATEST = 20  # of each kind count: a cluster changes
NEWS_SECONDS = 1.0  # after which a training first tells how it goes


class StartupLog:
    """Appends to `<workspace>/start-ups.jsonl`; safe from any thread."""

    def __init__(self, workspace: Path) -> None:
        """Touches nothing yet."""
        self._file, self._lock = workspace / FILE, threading.Lock()

    def note(self, kind: Kind, seconds: float) -> None:
        """Keep that a start took so long."""
        with self._lock:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(dump_line({"kind": kind, "seconds": round(seconds, 3)}) + "\n")


class BankClock:
    """What of a bank's job was neither training nor between trainings: its start with its models, and its end."""

    def __init__(self) -> None:
        """The job begins now."""
        self._begun = time.monotonic()
        self._training: float | None = None
        self._last = self._begun

    def trains(self) -> None:
        """An adapter of it has moved on."""
        if self._training is None:
            self._training = time.monotonic() - NEWS_SECONDS

    def finished(self) -> None:
        """An adapter of it is done, perhaps so soon that it told nothing before."""
        self._last = time.monotonic()
        self._training = self._training or self._last

    def beside(self) -> float | None:
        """Seconds, once the job is over; None for a job that never came to train."""
        if self._training is None:
            return None
        return max(0.0, self._training - self._begun) + time.monotonic() - self._last


@dataclass(frozen=True, slots=True)
class StartupTimes:
    """What a simulation takes for starts, and where each number is from."""

    overheads: Overheads
    sources: Mapping[Kind, str]

    def sentence(self) -> str:
        """`start-up: bank 9.1 s (measured 4 times in this workspace), worker ...`."""
        return "start-up: " + ", ".join(
            f"{kind} {getattr(self.overheads, kind):.1f} s ({source})" for kind, source in self.sources.items()
        )


def known_startup_times(workspace: Path, assumed: Mapping[Kind, float]) -> StartupTimes:
    """As `assumed`, else what the latest in this workspace took, else the built-in numbers.

    Of several the lower quartile counts: some waited for a place, which the simulation adds itself.
    """
    latest: dict[str, deque[float]] = {kind: deque(maxlen=LATEST) for kind in KINDS}
    file = workspace / FILE
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        found = parse_line(line)
        if found is not None and found["kind"] in latest:
            latest[found["kind"]].append(found["seconds"])
    known = {kind: sorted(seconds)[len(seconds) // 4] for kind, seconds in latest.items() if seconds}
    sources: dict[Kind, str] = {}
    for kind in KINDS:
        measured = f"measured {len(latest[kind])} times in this workspace" if kind in known else "built in"
        sources[kind] = "as assumed" if kind in assumed else measured
    known |= {str(kind): seconds for kind, seconds in assumed.items()}
    return StartupTimes(replace(Overheads(), **known), sources)
