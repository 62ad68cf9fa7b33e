"""lineage and ui: from an adapter down to its corpora, MLflow's pages; export and push: adapters that leave."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from jobs.errors import Fault, InputError
from orchestrator.cli.options import HERE, Workspace, console, path_option, terminal
from orchestrator.lineage.export import Exported, ExportOptions, export_adapter, push_folder, secrets_of
from orchestrator.lineage.mlflow.uri import default_uri
from orchestrator.lineage.tree import as_mermaid, as_plain, as_text, lineage_tree
from orchestrator.store.artifacts import existing_store

Adapter = Annotated[str, typer.Argument(help="key, unique beginning of one, or directory", metavar="ADAPTER")]

Permitted = Annotated[
    bool, typer.Option("--permitted", help="the owners of what it was made from allow what a licence does not")
]


def lineage(
    adapter: Annotated[
        str, typer.Argument(help="key, unique beginning of one, or directory; none with --rebuild")
    ] = "",
    workspace: Workspace = HERE,
    as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="as a Mermaid diagram")] = False,
    rebuild: Annotated[str, typer.Option(help="recreate MLflow's mirror of this campaign from the records")] = "",
    tracking: Annotated[str, typer.Option(help="MLflow tracking URI; default: in the workspace")] = "",
) -> None:
    """Print the tree from an adapter down to corpora and backbone."""
    if rebuild:
        from orchestrator.lineage.mlflow import writer as mirror

        count = mirror.rebuild(tracking or mirror.default_uri(workspace), workspace, rebuild)
        console.print(f"{count} steps of {rebuild} are in MLflow")
        return
    node = lineage_tree(existing_store(workspace), adapter)
    if as_json:
        print(json.dumps(as_plain(node), ensure_ascii=False, indent=1))
    elif mermaid:
        print(as_mermaid(node))
    else:
        console.print(as_text(node))


# MLflow opens its pages for chats unless the address says that models are trained.
_PAGES = "/#/experiments?workflowType=machine_learning"


def ui(
    workspace: Workspace = HERE,
    port: Annotated[int, typer.Option(help="of 127.0.0.1, where the pages are served")] = 5000,
) -> None:
    """Open MLflow's pages for a workspace on 127.0.0.1."""
    from orchestrator.lineage.mlflow.writer import ui_command

    root = existing_store(workspace).root
    _check_free(port)
    argv = ui_command(default_uri(root), root, port)
    console.print(f"MLflow on http://127.0.0.1:{port}{_PAGES} - stop with Ctrl-C", soft_wrap=True)
    os.execv(argv[0], argv)


def _check_free(port: int) -> None:
    """Raise InputError for no port, and where somebody listens: MLflow would say so in tracebacks, and end well."""
    if not 0 < port < 2**16:
        raise InputError(Fault("no such port", "--port", str(port), "1 to 65535"))
    with socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            own.bind(("127.0.0.1", port))
        except OSError as taken:
            raise InputError(
                Fault("the port is taken", "--port", f"{port}: {taken.strerror}", "name another")
            ) from taken


def export(
    adapter: Adapter,
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    workspace: Workspace = HERE,
    consumer: Annotated[
        Literal["", "adapters", "peft", "vllm"],
        typer.Option("--for", help="what is to load it; default: its own library", show_default=False),
    ] = "",
    rank: Annotated[
        int | None, typer.Option(help="for vllm: truncate to it; default: the smallest that is exact")
    ] = None,
    backbone: Annotated[
        Path | None, path_option("--backbone", purpose="directory of the backbone; default: where it is found")
    ] = None,
    permitted: Permitted = False,
) -> None:
    """Copy an adapter out of its workspace, with its card, lineage, and what it is stacked on, or as vLLM takes it."""
    options = ExportOptions(consumer, rank, backbone, "permitted" if permitted else "")
    exported = export_adapter(existing_store(workspace), adapter, folder, options)
    _list_files(exported)
    for line in exported.said:
        terminal().print(f"note: {line}", soft_wrap=True, highlight=False, markup=False)
    terminal().print(f"exported {exported.record.key} to {folder}", soft_wrap=True, highlight=False)


def push(
    adapter: Adapter,
    repository: Annotated[str, typer.Argument(help="owner/name on the hub", metavar="REPO")],
    workspace: Workspace = HERE,
    yes: Annotated[bool, typer.Option("--yes", help="upload; without it nothing leaves this machine")] = False,
    public: Annotated[bool, typer.Option("--public", help="visible to everybody; default: private")] = False,
    permitted: Permitted = False,
) -> None:
    """Show, and with --yes do, the upload of an adapter to a hub repository, private unless --public."""
    visibility, console = "public" if public else "private", terminal()
    with tempfile.TemporaryDirectory() as place:
        options = ExportOptions(leave="permitted" if permitted else "", repository=repository)
        exported = export_adapter(existing_store(workspace), adapter, Path(place) / "adapter", options)
        _list_files(exported)
        if found := secrets_of(exported.folder):
            raise InputError(Fault("a secret would be uploaded", ", ".join(found), todo="find out how it came there"))
        for line in exported.said:
            console.print(f"note: {line}", soft_wrap=True, highlight=False, markup=False)
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
