"""run and report: bring a campaign to its end, and write its report anew."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from jobs.errors import Fault, InputError
from orchestrator.cli import ray_jobs
from orchestrator.cli.options import (
    HERE,
    CampaignFile,
    Set,
    Workspace,
    console,
    load_file,
    plan_file,
    print_whole,
)
from orchestrator.lineage.mlflow.uri import without_password
from orchestrator.report.scoring_notes import scoring_notes
from orchestrator.report.terminal import results_table
from orchestrator.report.write import write_report
from orchestrator.run import ExecutorName, Outcome, RunSettings, run_campaign
from orchestrator.store.artifacts import open_store


def run(
    file: CampaignFile,
    workspace: Workspace = HERE,
    set_: Set = None,
    executor: Annotated[str, typer.Option(help="ray, or local: one after another in this process")] = "ray",
    address: Annotated[
        str | None,
        typer.Option(help="a Ray cluster: auto, HOST:PORT, http://HOST:8265, ray://HOST; default: its own"),
    ] = None,
    tracking: Annotated[str, typer.Option(help="MLflow tracking URI, or off; default: the campaign's")] = "",
    redo: Annotated[
        list[str] | None,
        typer.Option(help="a finished step to compute again and compare, as `explain` names it; may be repeated"),
    ] = None,
) -> None:
    """Run a campaign; the same command goes on where an earlier run stopped."""
    name: ExecutorName
    if executor == "ray":
        name = "ray"
    elif executor == "local":
        name = "local"
    else:
        raise InputError(Fault("unknown executor", "--executor", executor, "choose ray or local"))
    if there := ray_jobs.submission_address(address, os.environ):
        if redo:
            todo = "run it on the cluster itself, with --address auto"
            raise InputError(Fault("steps are not computed again by a job that is sent", "--redo", redo[0], todo))
        place = open_store(workspace).reference
        ray_jobs.run_there(file, there, place.uri if place else str(workspace), set_, tracking)
    planned = plan_file(file, workspace, set_)
    outcome = run_campaign(planned, RunSettings(workspace, name, address, tracking, tuple(redo or ())), console)
    _tell(outcome, workspace, tracking or planned.campaign.tracking.mlflow)
    raise typer.Exit(1 if outcome.summary.errors or not all(one.equal for one in outcome.redone) else 0)


def report(file: CampaignFile, workspace: Workspace = HERE) -> None:
    """Write the report of a campaign, finished or not, from its records."""
    console.print(f"report: {write_report(workspace, load_file(file).campaign).html}", soft_wrap=True)


def _tell(outcome: Outcome, workspace: Path, tracking: str) -> None:
    summary = outcome.summary
    for note in (*summary.notes, *scoring_notes(summary.records.values())):
        console.print(f"note: {note}", style="yellow", soft_wrap=True, markup=False)
    print_whole(console, results_table(outcome.report.results))
    for one in outcome.redone:
        console.print(str(one), style=None if one.equal else "red", soft_wrap=True, markup=False, highlight=False)
    executed, reused = summary.count("succeeded"), summary.count("reused")
    failed, skipped = summary.count("failed"), summary.count("skipped")
    console.print(f"{executed} steps executed, {reused} reused, {failed} failed, {skipped} skipped")
    for key, error in summary.errors.items():
        console.print(f"failed: {key}: {error}", style="red", soft_wrap=True, markup=False)
    console.print(f"report: {outcome.report.html}", soft_wrap=True)
    if not tracking:
        console.print(f"MLflow: adapterfleet ui --workspace {workspace}", soft_wrap=True)
    elif tracking != "off":
        console.print(f"MLflow: {without_password(tracking)}", soft_wrap=True)
