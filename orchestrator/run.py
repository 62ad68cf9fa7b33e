"""run_campaign: lock, plan, execute, mirror, report. The same command goes on after a kill."""

from __future__ import annotations

import importlib.metadata
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from rich.console import Console

from jobs.runtime.step_log import Send
from jobs.spec import JobResult
from orchestrator.campaign.schema import Campaign
from orchestrator.card import card, has_card
from orchestrator.departure import Departure
from orchestrator.display import display
from orchestrator.events import EventLog
from orchestrator.execute import Change, Executor, Finished, Moved, Summary, Watcher, Work, execute, execution_facts
from orchestrator.hub_check import check_hub_names
from orchestrator.index import index, write_index
from orchestrator.plan import Plan
from orchestrator.preflight import check_task_data
from orchestrator.report import ReportPaths, write_report
from orchestrator.scheduling.cost import cost_model
from orchestrator.scheduling.priority import most_urgent_first
from orchestrator.search_changes import change_lines
from orchestrator.step_logs import StepLogs
from orchestrator.store.artifacts import ArtifactStore, CorruptArtifactError
from orchestrator.store.layout import campaign_folder
from orchestrator.store.lock import run_lock
from orchestrator.store.record import Record
from orchestrator.store.step import Step
from orchestrator.store.workspace import open_store

VERSIONED = ("torch", "transformers", "adapters", "peft", "ray", "datasets", "mlflow", "lang2vec", "babel", "numpy")
MIRROR_SECONDS = 30.0  # that an interrupted run waits for its tracking server
SPARE_SECONDS = 2.0  # of a grace period, for what comes after that
ExecutorName = Literal["ray", "local"]


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How to run; nothing here changes a result."""

    workspace: Path
    executor: ExecutorName = "ray"
    address: str | None = None
    tracking: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to, and where its report is."""

    summary: Summary
    report: ReportPaths


def run_campaign(plan: Plan, settings: RunSettings, console: Console) -> Outcome:
    """Bring every step of the plan to its end, write the report, and bring MLflow up to date.

    Raises InputError when another run of the campaign goes on, the hub does not give what is named, labelled files hold
    faulty rows, or resources are asked for that no node has, and TimeToLeave when SIGTERM ended it (see
    `orchestrator.departure`).
    """
    store = open_store(settings.workspace)
    name = plan.campaign.campaign
    folder = campaign_folder(store.root, name)
    # Two campaigns may share steps, so a workspace has one run at a time; the campaign's own lock tells `status`.
    with Departure() as departure, run_lock(folder), run_lock(store.root), store.lease(name) as still_ours:
        for line in change_lines(store, plan.steps):
            console.print(f"note: {line}", style="yellow", soft_wrap=True, markup=False)
        store.drop_spent_checkpoints()
        check_hub_names(plan.steps, store)
        check_task_data(plan.steps, store)
        write_index(plan, folder)
        log = EventLog(folder, len(plan.steps))
        logs = StepLogs(folder)
        start = partial(_executor, plan.campaign, settings, store, logs.add, departure)
        executor = LazyExecutor(start, settings.executor)
        mirror = _Mirror(plan, settings, store, console)
        try:
            watchers = (log, logs, mirror, lambda _: still_ours())
            summary = _execute(plan, store, executor, watchers, console, departure)
        except BaseException:
            log.close("interrupted")
            mirror.stop(departure.seconds_left)
            raise
        log.close("failed" if summary.errors else "finished")
        report = write_report(store.root, name)
        mirror.close(report.html.parent)
    return Outcome(summary, report)


def _execute(
    plan: Plan,
    store: ArtifactStore,
    executor: Executor,
    watchers: Sequence[Watcher],
    console: Console,
    departure: Departure,
) -> Summary:
    costs = cost_model(store.records(_leave_to_execute))
    try:
        with display(console, plan.steps, costs) as view:

            def watch(event: Change | Moved) -> None:
                for watcher in (*watchers, view):
                    watcher(event)

            facts = execution_facts(_versions(), _git_commit())
            return execute(most_urgent_first(plan.steps, costs), store, executor, watch, facts, write_card, departure)
    finally:
        executor.close()


class LazyExecutor:
    """Starts the real executor with the first step, so that a run with nothing to do starts nothing."""

    def __init__(self, start: Callable[[], Executor], name: str) -> None:
        """`start` makes the executor."""
        self._start = start
        self._made: Executor | None = None
        self.name = name

    def submit(self, works: Sequence[Work]) -> None:
        """Start on first use."""
        self._made = self._made or self._start()
        self._made.submit(works)

    def poll(self, timeout: float) -> Sequence[Finished | Moved]:
        """Nothing happens before the first submit."""
        return self._made.poll(timeout) if self._made else ()

    def close(self) -> None:
        """Close what was started."""
        if self._made:
            self._made.close()


def _executor(
    campaign: Campaign, settings: RunSettings, store: ArtifactStore, notes: Send, departure: Departure
) -> Executor:
    if settings.executor == "local":
        from orchestrator.executors import LocalExecutor

        return LocalExecutor(campaign.resources.bank_size, notes, departure)
    from orchestrator.ray_executor import RayExecutor, Run

    return RayExecutor(campaign.resources, store.root, settings.address, notes, Run(campaign.campaign, departure))


class _Mirror:
    """Sends finished and failed steps to MLflow, unless tracking is off."""

    def __init__(self, plan: Plan, settings: RunSettings, store: ArtifactStore, console: Console) -> None:
        uri = settings.tracking or plan.campaign.tracking.mlflow
        self._writer = None
        if uri != "off":
            from orchestrator.lineage import Writer
            from orchestrator.lineage_address import default_uri

            self._writer = Writer(
                uri or default_uri(store.root), store, index(plan), lambda line: console.print(line, style="yellow")
            )

    def __call__(self, event: Change | Moved) -> None:
        if self._writer is None or isinstance(event, Moved):
            return
        if event.state == "succeeded" and event.record is not None:
            self._writer.put(event.record)
        elif event.state == "failed":
            self._writer.failed(event.step.key, event.error)

    def close(self, report: Path) -> None:
        """Send the report and wait for what is still to be sent."""
        if self._writer is not None:
            self._writer.report(report)
            self._writer.close()

    def stop(self, seconds_left: float) -> None:
        """Wait for what is still to be sent, of a run that was interrupted; what is not waits on disk."""
        if self._writer is not None:
            self._writer.close(max(0.0, min(MIRROR_SECONDS, seconds_left - SPARE_SECONDS)))


def _leave_to_execute(damage: CorruptArtifactError) -> None:
    """A broken record has no cost to tell; `execute` computes its step again and says so."""


def write_card(step: Step, staging: Path, result: JobResult, inputs: Mapping[str, Record]) -> None:
    """Put a model card beside an adapter's files before they are committed."""
    if has_card(step.spec):
        (staging / "README.md").write_text(card(step.spec, inputs, result), encoding="utf-8")


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in VERSIONED}


def _git_commit() -> str:
    """Commit of the code when it runs from a checkout, else empty."""
    here = Path(__file__).resolve().parent
    try:
        answer = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
