"""export and push: adapters that leave the workspace."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from jobs.errors import Fault, InputError
from orchestrator.cli.options import HERE, Workspace, terminal
from orchestrator.cli.workspace import Adapter
from orchestrator.lineage.export import export_adapter, push_folder, secrets_of
from orchestrator.store.workspace import open_store

if TYPE_CHECKING:
    from orchestrator.lineage.export import Exported


def export(
    adapter: Adapter, folder: Annotated[Path, typer.Argument(metavar="DIR")], workspace: Workspace = HERE
) -> None:
    """Copy an adapter out of its workspace, with its card, lineage, and what it is stacked on."""
    exported = export_adapter(open_store(workspace), adapter, folder)
    _list_files(exported)
    terminal().print(f"exported {exported.record.key} to {folder}", soft_wrap=True, highlight=False)


def push(
    adapter: Adapter,
    repository: Annotated[str, typer.Argument(help="owner/name on the hub", metavar="REPO")],
    workspace: Workspace = HERE,
    yes: Annotated[bool, typer.Option("--yes", help="upload; without it nothing leaves this machine")] = False,
    public: Annotated[bool, typer.Option("--public", help="visible to everybody; default: private")] = False,
) -> None:
    """Show, and with --yes do, the upload of an adapter to a hub repository, private unless --public."""
    visibility, console = "public" if public else "private", terminal()
    with tempfile.TemporaryDirectory() as place:
        exported = export_adapter(open_store(workspace), adapter, Path(place) / "adapter")
        _list_files(exported)
        if found := secrets_of(exported.folder):
            raise InputError(Fault("a secret would be uploaded", ", ".join(found), todo="find out how it came there"))
        if not yes:
            console.print(f"would go to {repository}, {visibility}; nothing is uploaded without --yes", highlight=False)
            return
        address = push_folder(exported.folder, repository, visibility)
    console.print(f"uploaded to {address} ({visibility} if it was new)", soft_wrap=True, highlight=False)


def _list_files(exported: Exported) -> None:
    table = Table("file", "KiB", title=exported.record.key, title_justify="left")
    for name, size in exported.files.items():
        table.add_row(escape(name), f"{size / 1024:,.1f}")
    terminal().print(table)
