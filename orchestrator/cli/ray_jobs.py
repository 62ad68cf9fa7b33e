"""The commands `adapterfleet submit` and `adapterfleet jobs list | status | logs | stop`: a Ray cluster over HTTP."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

import typer
from rich.table import Table

from jobs.errors import Fault, InputError
from orchestrator.cli.options import CampaignFile, Set, facts_table, load_file, plan_file, terminal

if TYPE_CHECKING:
    from orchestrator.clusters.ray.jobs import JobState, RayJobs

Address = Annotated[
    str, typer.Option("--address", "-a", envvar="RAY_API_SERVER_ADDRESS", help="http://HOST:8265 of the cluster")
]
Job = Annotated[str, typer.Argument(help="id of the job, as `submit` and `jobs list` show it", metavar="JOB")]
Place = Annotated[
    str,
    typer.Option(
        "--workspace",
        "-w",
        envvar="ADAPTERFLEET_WORKSPACE",
        help="where artifacts are kept: s3://..., gs://..., or a directory that all nodes see",
        metavar="PLACE",
    ),
]


def submit(
    file: CampaignFile,
    address: Address,
    workspace: Place,
    set_: Set = None,
    tracking: Annotated[str, typer.Option(help="MLflow tracking URI, or off; default: the campaign's")] = "",
    files: Annotated[Literal["ship", "shared"], typer.Option(help="local data: ship it, or all nodes see it")] = "ship",
    env: Annotated[list[str] | None, typer.Option(help="name of a variable to send along; never a secret")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="print the driver's log until the end")] = False,
) -> None:
    """Run a campaign on a Ray cluster; this machine may leave."""
    jobs = _jobs(address)
    job = _send(jobs, file, workspace, set_, tracking, files, env or [])
    terminal().print(f"submitted: {job}; `adapterfleet jobs logs -f {job}` shows how it goes", soft_wrap=True)
    if follow:
        _follow(jobs, job)


def list_(address: Address) -> None:
    """List the campaigns that were sent to a cluster."""
    table = Table("job", "campaign", "status", "started (UTC)", "ended (UTC)", "exit", show_edge=False)
    for one in _jobs(address).list():
        code = "" if one.exit_code is None else str(one.exit_code)
        table.add_row(one.id, one.campaign, one.status, one.started, one.ended, code)
    terminal().print(table)


def status(job: Job, address: Address) -> None:
    """Show how a job stands."""
    _show(_jobs(address).state(job))


def logs(
    job: Job,
    address: Address,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on as lines come")] = False,
) -> None:
    """Print the driver's log."""
    jobs = _jobs(address)
    if follow:
        _follow(jobs, job)
    else:
        print(jobs.log(job), end="")


def stop(job: Job, address: Address) -> None:
    """Stop a job; the store keeps what is finished, and `submit` goes on from there."""
    jobs = _jobs(address)
    stopped = jobs.stop(job)
    terminal().print(f"stopped: {job}" if stopped else f"{job} was over already: {jobs.state(job).status}")


def submission_address(address: str | None, environment: Mapping[str, str]) -> str | None:
    """Where a campaign for the cluster at `address` is submitted over HTTP; None where the driver joins it from here.

    `ray://HOST:PORT` is the door of Ray Client, through which Ray Train and Tune would run here, far from their
    workers. The campaign goes to the dashboard of that host instead: RAY_API_SERVER_ADDRESS, or its port 8265.
    """
    if address and address.startswith("ray://"):
        host = urlsplit(address).hostname or ""
        return environment.get("RAY_API_SERVER_ADDRESS") or f"http://{f'[{host}]' if ':' in host else host}:8265"
    return address if address and address.startswith(("http://", "https://")) else None


def run_there(file: Path, address: str, workspace: str, set_: list[str] | None, tracking: str) -> None:
    """`adapterfleet run --address http://...` or `ray://...`: submit, and follow to the end."""
    jobs = _jobs(address)
    _follow(jobs, _send(jobs, file, workspace, set_, tracking, "ship", []))


def _send(
    jobs: RayJobs, file: Path, workspace: str, set_: list[str] | None, tracking: str, files: str, env: list[str]
) -> str:
    from orchestrator.clusters.bundle import shipped_environment, write_bare_bundle, write_bundle

    if "://" not in workspace and not Path(workspace).is_absolute():
        todo = "name a bucket, or the full path of a directory that all nodes of the cluster see"
        raise InputError(Fault("the cluster does not know this directory", "--workspace", workspace, todo))
    campaign = load_file(file, set_)
    environment = shipped_environment(env, os.environ)
    arguments = ["--workspace", workspace, *(["--tracking", tracking] if tracking else [])]
    with tempfile.TemporaryDirectory(prefix="adapterfleet-") as folder:
        place = Path(folder) / "bundle"
        if files == "ship":
            write_bundle(plan_file(file, Path(folder) / "workspace", set_), place)
        else:
            write_bare_bundle(campaign, place)
        return jobs.submit(campaign.campaign, place, arguments, environment)


def _follow(jobs: RayJobs, job: str) -> None:
    try:
        for text in jobs.follow(job):
            print(text, end="", flush=True)
    except KeyboardInterrupt:
        goes_on = f"{job} goes on: `adapterfleet jobs logs -f {job}` follows it again, `adapterfleet jobs stop {job}`"
        print(f"{goes_on} ends it", file=sys.stderr)
        raise typer.Exit(130) from None
    state = jobs.state(job)
    _show(state)
    raise typer.Exit(state.exit_code if state.exit_code is not None else 1)


def _jobs(address: str) -> RayJobs:
    if not address.startswith(("http://", "https://")):
        raise InputError(Fault("jobs are sent over HTTP", "--address", address, "give http://HOST:8265"))
    from orchestrator.clusters.ray.jobs import RayJobs

    return RayJobs(address)


def _show(state: JobState) -> None:
    facts = {
        "campaign": state.campaign,
        "status": state.status,
        "started": state.started,
        "ended": state.ended,
        "exit code": "" if state.exit_code is None else str(state.exit_code),
        "message": state.message,
    }
    terminal().print(facts_table(state.id, facts))
