"""What the commands have in common: their arguments, the terminal, and how a campaign file is planned."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Column, Table

from jobs.errors import Fault, InputError
from orchestrator.lineage.mlflow.uri import default_uri
from orchestrator.store.artifacts import is_workspace, workspace_path

if TYPE_CHECKING:
    from orchestrator.campaign.schema import Campaign
    from orchestrator.plan.plan import Plan


def terminal() -> Console:
    """Where commands print; off a terminal (a pipe, a log) tables keep their columns apart."""
    return Console(width=None if sys.stdout.isatty() else 140)


console = terminal()

CampaignFile = Annotated[Path, typer.Argument(help="campaign file (YAML)", metavar="CAMPAIGN")]
Workspace = Annotated[
    Path,
    typer.Option(
        "--workspace",
        "-w",
        envvar="ADAPTERFLEET_WORKSPACE",
        help="where artifacts are kept: a directory, s3://bucket/prefix or gs://bucket/prefix",
        parser=workspace_path,
        metavar="PLACE",
    ),
]
Set = Annotated[list[str] | None, typer.Option("--set", help="name=value for a variable of the campaign file")]
HERE = Path("workspace")


def load_file(file: Path, set_: list[str] | None = None) -> Campaign:
    """The campaign of a file, its variables replaced by what `--set` gave. Raises InputError."""
    from orchestrator.campaign.load import load_campaign

    return load_campaign(file, variables(set_))


def plan_file(file: Path, workspace: Path, set_: list[str] | None) -> Plan:
    """The plan of a campaign file. Raises InputError."""
    from orchestrator.plan.pinned_references import References
    from orchestrator.plan.plan import plan_campaign

    campaign = load_file(file, set_)

    def registered(address: str, folder: Path) -> Path:
        from orchestrator.lineage.mlflow.connection import connect
        from orchestrator.lineage.mlflow.registry import fetch_model

        uri = campaign.tracking.mlflow or default_uri(workspace)
        return fetch_model(address, connect(uri), folder)

    return plan_campaign(campaign, References(workspace / "cache", registered))


def variables(set_: list[str] | None) -> dict[str, str]:
    """`--set name=value` as a mapping. Raises InputError for items without an equals sign."""
    pairs = [(item, *item.partition("=")[::2]) for item in set_ or ()]
    faults = [Fault("--set takes name=value", "--set", item) for item, _, _ in pairs if "=" not in item]
    if faults:
        raise InputError(*faults)
    return {name: value for _, name, value in pairs}


def numbers(*titles: str) -> list[Column]:
    """Columns of numbers, flush right, of which no digit is cut off."""
    return [Column(title, justify="right", no_wrap=True) for title in titles]


_WIDEST = 10_000  # columns


def print_whole(console: Console, table: Table) -> None:
    """Print a table of numbers; on a terminal too narrow for them its lines go on in the next one."""
    needed = Measurement.get(console, console.options.update(width=_WIDEST), table).minimum
    (console if needed <= console.width else Console(width=needed)).print(table)


def facts_table(title: str, facts: Mapping[str, str]) -> Table:
    """What is known of one thing, a row for each fact that there is."""
    table = Table("", title, show_edge=False)
    for name, value in facts.items():
        if value:
            table.add_row(name, escape(value))
    return table


def say_broken(console: Console, damages: Iterable[str]) -> None:
    """Artifacts that are no use, in passing, each once."""
    for damage in dict.fromkeys(damages):
        console.print(f"note: {damage}: `run` computes it again", style="yellow", soft_wrap=True, markup=False)


@contextmanager
def looked_at(workspace: Path) -> Iterator[Path]:
    """The workspace, for a command that only looks; where there is none an empty one in its place, which goes again."""
    if is_workspace(workspace):
        yield workspace
        return
    if workspace.exists() and not workspace.is_dir():
        raise InputError(Fault("not a directory", "--workspace", str(workspace)))
    with TemporaryDirectory(prefix="adapterfleet-") as folder:
        yield Path(folder)
    console.print(f"note: {workspace} is no workspace yet: `run` makes it one", style="yellow", soft_wrap=True)


def path_option(*names: str, purpose: str) -> Any:
    """An option of the command line that is a path; no shell replaces the ~ of `--out=~/x`."""
    return typer.Option(*names, parser=lambda text: Path(text).expanduser(), metavar="PATH", help=purpose)
