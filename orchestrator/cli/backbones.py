"""`adapterfleet backbones`: pretrained models that the package index carries, and whether they are here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from jobs.backbones.catalogue import PACKAGED
from jobs.backbones.installed import install, is_present, packaged_named, place_of
from orchestrator.cli.options import console, path_option


def backbones(context: typer.Context) -> None:
    """Pretrained backbones made from wheels of the package index: `backbone: {name: e5-small}` in a campaign."""
    if context.invoked_subcommand is not None:
        return
    table = Table("name", "parameters", "languages", "licence", "from", "download", "on disk", "here")
    for one in PACKAGED.values():
        wheels = ", ".join(wheel.requirement for wheel in one.wheels)
        here = str(place_of(one)) if is_present(one) else "no"
        sizes = (f"{one.download / 1e6:,.0f} MB", f"{one.size / 1e6:,.0f} MB")
        table.add_row(one.name, one.parameters, one.languages, one.licence, wheels, *sizes, here)
    console.print(table)


def add(
    name: Annotated[str, typer.Argument(help="as `adapterfleet backbones` lists it")],
    from_: Annotated[
        Path | None,
        path_option("--from", purpose="folder with the wheels, in place of pip"),
    ] = None,
) -> None:
    """Fetch a backbone and keep it for all campaigns; a campaign that names it does so by itself."""
    console.print(f"{name}: {install(packaged_named(name), from_)}", soft_wrap=True)
