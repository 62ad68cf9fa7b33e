"""What a person sees while a campaign runs: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections import Counter

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from orchestrator.execution.executor import StepProgress, StepStateChanged
from orchestrator.scheduling.cost import CostModel
from orchestrator.store.step import Step
from orchestrator.wording import duration, short

LINES_EVERY = 5.0  # seconds between two plain progress lines
SHOWN = 12  # running steps listed in the live view
UNKNOWN_SECONDS = 1.0  # weight of a step whose cost nobody knows yet
COUNTERS = ("optimizer_step", "trial", "example")  # progress values that count towards "of"


class Board:
    """Counts and running steps; both displays draw it."""

    def __init__(self, steps: tuple[Step, ...], costs: CostModel) -> None:
        """Everything is waiting. `costs` weigh the steps for the time that is left."""
        self.total = Counter(step.job for step in steps)
        self.done: Counter[str] = Counter()
        self.states: Counter[str] = Counter()
        self.running: dict[str, dict[str, float]] = {}
        self._started = time.time()
        self._weights = {step.key: costs.seconds(step) or UNKNOWN_SECONDS for step in steps}
        self._left = sum(self._weights.values())
        self._spent = 0.0

    def take(self, event: StepStateChanged | StepProgress) -> None:
        """Note one event."""
        if isinstance(event, StepProgress):
            if event.key in self.running:
                self.running[event.key] = dict(event.values)
            return
        key, state = event.step.key, event.state
        if state == "running":
            self.running[key] = {}
            return
        self.running.pop(key, None)
        self.done[event.step.job] += 1
        self.states[state] += 1
        self._left -= self._weights[key]
        if state == "succeeded":
            self._spent += self._weights[key]

    def eta(self) -> str:
        """Time left at the pace so far: steps weigh what they are estimated to cost, running ones by their share."""
        begun = sum(self._weights[key] * _share(values) for key, values in self.running.items())
        spent, left = self._spent + begun, self._left - begun
        if spent < 0.03 * (spent + left) or left <= 0:
            return ""
        return f"about {duration((time.time() - self._started) / spent * left)} left"

    def line(self) -> str:
        """Everything in one line."""
        jobs = ", ".join(f"{job} {self.done[job]}/{n}" for job, n in self.total.items() if self.done[job] < n)
        moving = next((f"{short(k)}: {values_text(v)}" for k, v in self.running.items() if v), "")
        finished = self.states["reused"] + self.states["succeeded"]
        lost = ", ".join(f"{self.states[name]} {name}" for name in ("failed", "skipped") if self.states[name])
        parts = [f"{finished}/{self.total.total()} steps", lost, jobs, moving, self.eta()]
        return "  ".join(part for part in parts if part)


class LineDisplay:
    """Quiet lines for logs and pipes: progress every few seconds, failures at once."""

    def __init__(self, console: Console, steps: tuple[Step, ...], costs: CostModel) -> None:
        self._console, self._board, self._last = console, Board(steps, costs), time.time()

    def __enter__(self) -> LineDisplay:
        return self

    def __exit__(self, *exception: object) -> None:
        self._console.print(self._board.line(), soft_wrap=True)

    def __call__(self, event: StepStateChanged | StepProgress) -> None:
        """Draw one event."""
        self._board.take(event)
        if isinstance(event, StepStateChanged) and event.state == "failed":
            self._console.print(f"FAILED {event.step.key}: {event.error}", soft_wrap=True, markup=False)
        if time.time() - self._last >= LINES_EVERY:
            self._last = time.time()
            self._console.print(self._board.line(), soft_wrap=True, markup=False)


class LiveDisplay:
    """Bars per job and a table of what runs now, redrawn four times a second."""

    def __init__(self, console: Console, steps: tuple[Step, ...], costs: CostModel) -> None:
        self._board = Board(steps, costs)
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<18}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn()
        )
        self._tasks = {job: self._bars.add_task(job, total=n) for job, n in self._board.total.items()}
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveDisplay:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()
        self._console.print(self._board.line(), soft_wrap=True)

    def __call__(self, event: StepStateChanged | StepProgress) -> None:
        """Draw one event."""
        self._board.take(event)
        if isinstance(event, StepStateChanged) and event.state == "failed":
            self._live.console.print(f"[red]failed[/red] {event.step.key}: {escape(event.error)}")
        for job, task in self._tasks.items():
            self._bars.update(task, completed=self._board.done[job])

    def _draw(self) -> Group:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for key, values in list(self._board.running.items())[:SHOWN]:
            table.add_row(short(key), values_text(values))
        hidden = len(self._board.running) - SHOWN
        if hidden > 0:
            table.add_row(f"and {hidden} more", "")
        return Group(self._bars, table, self._board.eta())


def display(console: Console, steps: tuple[Step, ...], costs: CostModel) -> LiveDisplay | LineDisplay:
    """The display that fits: live on a terminal, lines elsewhere."""
    return LiveDisplay(console, steps, costs) if console.is_terminal else LineDisplay(console, steps, costs)


def _share(values: dict[str, float]) -> float:
    """How much of a running step is done, 0 to 1, as far as its progress tells."""
    done = next((values[name] for name in COUNTERS if name in values), 0.0)
    return min(1.0, done / values["of"]) if values.get("of") else 0.0


def values_text(values: dict[str, float]) -> str:
    """Progress values in a fixed, short form."""
    if not values:
        return "starting"
    count = next((f"{name.replace('_', ' ')} {values[name]:.0f}" for name in COUNTERS if name in values), "")
    of = f"/{values['of']:.0f}" if "of" in values else ""
    speed = f"{values['tokens_per_second']:,.0f} tokens/s" if "tokens_per_second" in values else ""
    rest = [f"{k.replace('_', ' ')} {v:.3f}" for k, v in values.items() if k in ("loss", "best") and not math.isnan(v)]
    memory = f"{values['memory_bytes'] / 2**30:.1f} GiB" if "memory_bytes" in values else ""
    used = f"MFU {values['mfu']:.0%}" if "mfu" in values else ""
    return "  ".join(part for part in [count + of, *rest, speed, memory, used] if part)
