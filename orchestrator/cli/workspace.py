"""The commands that look after runs and workspaces: `stop`, `status`, `logs`, `gc`."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from jobs.errors import Fault, InputError
from jobs.runtime.shutdown import GRACE_SECONDS
from orchestrator.cli.options import HERE, CampaignFile, Workspace, load_file, terminal
from orchestrator.execution.event_log import read_status
from orchestrator.execution.step_logs import logged_steps, read_log
from orchestrator.store.artifacts import existing_store, workspace_path
from orchestrator.store.garbage import find_garbage, remove_garbage
from orchestrator.store.layout import campaign_folder
from orchestrator.store.lock import holder_of

if TYPE_CHECKING:
    from orchestrator.store.artifacts import ArtifactStore


SPARE = 5.0  # seconds beyond the grace period until it is said that the run does not end


def stop(workspace: Workspace = HERE) -> None:
    """Let the run that goes on in a workspace, on this machine, end in order; the same command goes on later."""
    console, holder = terminal(), holder_of(workspace)
    if holder is None:
        console.print(f"no run goes on in {workspace}", soft_wrap=True, highlight=False)
        return
    pid, host = holder
    if host != socket.gethostname():
        raise InputError(Fault("the run goes on elsewhere", str(workspace), f"on {host}", "stop it there"))
    _end(pid, workspace)
    console.print(f"process {pid} has left; the same command goes on from here", highlight=False)


def _end(pid: int, workspace: Path) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except (ProcessLookupError, PermissionError) as refused:
        todo = "stop it as its own user, in its own container"
        raise InputError(Fault("the run cannot be told to end", str(workspace), f"{pid}: {refused}", todo)) from refused
    deadline = time.monotonic() + GRACE_SECONDS + SPARE
    while holder_of(workspace) == (pid, socket.gethostname()):
        if time.monotonic() > deadline:
            todo = f"`kill -9 {pid}` ends it; finished steps stay"
            raise InputError(Fault("the run does not end", str(workspace), f"process {pid}", todo))
        time.sleep(0.1)


REFRESH = 1.0  # seconds between two looks of `status --watch`
LEVELS = ("info", "warning", "error")


def status(
    file: CampaignFile,
    workspace: Workspace = HERE,
    watch: Annotated[bool, typer.Option("--watch", help="look again every second until the run ends")] = False,
) -> None:
    """Show how a run stands, from any shell."""
    from orchestrator.report.sections.run_times import run_line

    console, name, store = terminal(), load_file(file).campaign, existing_store(workspace)
    shown, goes_on = _state(name, store, "" if watch and store.is_running(name) else run_line(store, name))
    if not watch or not goes_on:
        console.print(shown)
        return
    with Live(shown, console=console, auto_refresh=False) as live:
        while goes_on:
            time.sleep(REFRESH)
            store.pull_status(name)
            shown, goes_on = _state(name, store)
            live.update(shown, refresh=True)


def _state(name: str, store: ArtifactStore, time_spent: str = "") -> tuple[RenderableType, bool]:
    """What there is to see, and whether the run goes on."""
    from orchestrator.cli.tables import status_table

    found, alive = read_status(campaign_folder(store.root, name)), store.is_running(name)
    if found is None:
        return f"campaign {name} has not run in {store.reference.uri if store.reference else store.root}", alive
    return status_table(found, alive, time_spent), alive


def logs(
    step: Annotated[str, typer.Argument(help="key or name of a step, or its beginning; none: what went wrong")] = "",
    workspace: Workspace = HERE,
    level: Annotated[str, typer.Option(help="info, warning or error, and what is worse")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="as JSON lines")] = False,
) -> None:
    """Print the log of a step: attempts, warnings, errors, tracebacks. Without a step, all warnings and errors."""
    least = level or ("info" if step else "warning")
    if least not in LEVELS:
        raise InputError(Fault("not a level", "--level", least, f"one of {', '.join(LEVELS)}"))
    console, root = terminal(), existing_store(workspace).root
    folders = sorted(path for path in (root / "campaigns").glob("*") if path.is_dir())
    fitting = [(folder, key) for folder in folders for key in logged_steps(folder) if _fits(key, step)]
    if step and not fitting:
        todo = "`adapterfleet plan --all` lists the steps"
        raise InputError(Fault("no step that has a log is called so", "STEP", step, todo))
    if step and len({key for _, key in fitting}) > 1:
        listed = ", ".join(sorted({key for _, key in fitting})[:5])
        raise InputError(Fault("several steps begin like this", "STEP", step, f"choose one: {listed}"))
    shown = LEVELS[LEVELS.index(least) :]
    lines = [line for folder, key in fitting for line in read_log(folder, key) if line["level"] in shown]
    for line in sorted(lines, key=lambda line: line["time"]):
        _print_line(console, line, as_json)
    if not lines:
        console.print(f"nothing at level {least} or worse", highlight=False)


def _fits(key: str, wanted: str) -> bool:
    return key.startswith(wanted) or key.partition("/")[2].startswith(wanted)


def _print_line(console: Console, line: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(line, ensure_ascii=False))
        return
    style = {"error": "red", "warning": "yellow"}.get(line["level"], "")
    head = f"{line['time']} {line['level']:<7} {line['step']} attempt {line['attempt']} on {line['host']}"
    text = "".join(mark if mark.isprintable() or mark == "\n" else "?" for mark in str(line["message"]))
    console.print(f"[dim]{escape(head)}[/dim]\n  {escape(text)}", style=style, soft_wrap=True, highlight=False)


def gc(
    place: Annotated[
        Path | None, typer.Argument(help="the workspace", metavar="[WORKSPACE]", parser=workspace_path)
    ] = None,
    workspace: Workspace = HERE,
    yes: Annotated[bool, typer.Option("--yes", help="delete; without it nothing is changed")] = False,
    caches: Annotated[bool, typer.Option("--caches", help="drop tokenized and converted data too")] = False,
) -> None:
    """Find, and with --yes delete, what of a workspace no campaign refers to."""
    root, console = (place or workspace).resolve(), terminal()
    sweep = remove_garbage if yes else find_garbage
    findings = sweep(existing_store(root), "dropped" if caches else "kept")
    table = Table("deleted" if yes else "would be deleted", "why", "MiB", title=str(root), title_justify="left")
    for one in findings.garbage:
        table.add_row(escape(one.path), one.reason, _mebibytes(one.bytes))
    kept = Table("kept", "directories", "MiB")
    for reason, (count, size) in findings.kept.items():
        kept.add_row(reason, str(count), _mebibytes(size))
    console.print(table, kept)
    did = "freed" if yes else "would be freed; nothing is deleted without --yes"
    console.print(f"{len(findings.garbage)} directories, {_mebibytes(findings.bytes)} MiB {did}", highlight=False)


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.1f}"
