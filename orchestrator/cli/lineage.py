"""lineage and ui: from an adapter down to its corpora; MLflow's pages."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from orchestrator.cli.options import (
    HERE,
    Workspace,
    console,
)
from orchestrator.lineage.mlflow.uri import default_uri
from orchestrator.lineage.tree import as_mermaid, as_plain, as_text, lineage_tree
from orchestrator.store.workspace import open_store


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
    node = lineage_tree(open_store(workspace), adapter)
    if as_json:
        print(json.dumps(as_plain(node), ensure_ascii=False, indent=1))
    elif mermaid:
        print(as_mermaid(node))
    else:
        console.print(as_text(node))


def ui(workspace: Workspace = HERE, port: int = 5000) -> None:
    """Open MLflow's pages for a workspace on 127.0.0.1."""
    from orchestrator.lineage.mlflow.writer import ui_command

    argv = ui_command(default_uri(workspace), workspace, port)
    console.print(f"MLflow on http://127.0.0.1:{port} - stop with Ctrl-C")
    os.execv(argv[0], argv)
