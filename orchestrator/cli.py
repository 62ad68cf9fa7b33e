"""The command line. Each command is a few lines; what it does stands in a module of its own."""

from __future__ import annotations

import faulthandler
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from jobs.errors import Fault, InputError
from jobs.runtime.redaction import redacted
from jobs.runtime.shutdown import LEFT, TimeToLeave
from orchestrator import jobs_commands
from orchestrator import operations_commands as operations
from orchestrator.command_options import HERE, CampaignFile, Set, Workspace, load_file, plan_file, say_broken, terminal
from orchestrator.k8s_commands import logs, render, stop, submit
from orchestrator.k8s_commands import status as k8s_status
from orchestrator.merge_commands import compare, inspect, merge
from orchestrator.plan_commands import plan
from orchestrator.run import ExecutorName, Outcome, RunSettings, run_campaign
from orchestrator.stop_command import stop as stop_here
from orchestrator.store.artifacts import CorruptArtifactError
from orchestrator.store.workspace import open_store

app = typer.Typer(
    help="Train fleets of language adapters, combine them by arithmetic, and find the best combination.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
languages_app = typer.Typer(help="Languages: related ones, and where they are.", no_args_is_help=True)
jobs_app = typer.Typer(help="Campaigns on a Ray cluster that is reached over HTTP.", no_args_is_help=True)
k8s_app = typer.Typer(help="Campaigns on Kubernetes, through KubeRay.", no_args_is_help=True)
console = terminal()


@app.command()
def explain(
    file: CampaignFile,
    step: Annotated[str, typer.Argument(help="key, name, or the beginning of one")],
    workspace: Workspace = HERE,
    set_: Set = None,
) -> None:
    """Say why a step is new: what differs from the nearest finished step of that name, or from an earlier search."""
    from orchestrator.search.earlier_searches import change_lines
    from orchestrator.store.explain import explain as compare
    from orchestrator.store.explain import find_step
    from orchestrator.views import explanation_table

    steps, store = plan_file(file, workspace, set_).steps, open_store(workspace)
    found = find_step(steps, step)
    console.print(explanation_table(compare(found, store.records(partial(say_broken, console)))))
    for line in change_lines(store, steps, [found]):
        console.print(line, soft_wrap=True, markup=False)


@app.command()
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
) -> None:
    """Run a campaign; the same command goes on where an earlier run stopped."""
    name: ExecutorName
    if executor == "ray":
        name = "ray"
    elif executor == "local":
        name = "local"
    else:
        raise InputError(Fault("unknown executor", "--executor", executor, "choose ray or local"))
    if there := jobs_commands.submission_address(address, os.environ):
        place = open_store(workspace).reference
        jobs_commands.run_there(file, there, place.uri if place else str(workspace), set_, tracking)
    planned = plan_file(file, workspace, set_)
    outcome = run_campaign(planned, RunSettings(workspace, name, address, tracking), console)
    _tell(outcome, workspace)
    raise typer.Exit(1 if outcome.summary.errors else 0)


@app.command()
def report(file: CampaignFile, workspace: Workspace = HERE) -> None:
    """Write the report of a campaign, finished or not, from its records."""
    from orchestrator.report import write_report

    console.print(f"report: {write_report(workspace, load_file(file).campaign).html}", soft_wrap=True)


@app.command()
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
        from orchestrator import lineage as mirror

        count = mirror.rebuild(tracking or mirror.default_uri(workspace), workspace, rebuild)
        console.print(f"{count} steps of {rebuild} are in MLflow")
        return
    from orchestrator.tree import as_mermaid, as_plain, as_text, lineage_tree

    node = lineage_tree(open_store(workspace), adapter)
    if as_json:
        print(json.dumps(as_plain(node), ensure_ascii=False, indent=1))
    elif mermaid:
        print(as_mermaid(node))
    else:
        console.print(as_text(node))


@app.command()
def ui(workspace: Workspace = HERE, port: int = 5000) -> None:
    """Open MLflow's pages for a workspace on 127.0.0.1."""
    from orchestrator.lineage import ui_command
    from orchestrator.lineage_address import default_uri

    argv = ui_command(default_uri(workspace), workspace, port)
    console.print(f"MLflow on http://127.0.0.1:{port} - stop with Ctrl-C")
    os.execv(argv[0], argv)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the campaign file."""
    from orchestrator.campaign.load import json_schema

    print(json.dumps(json_schema(), indent=1, ensure_ascii=False))


@languages_app.command()
def related(
    target: str,
    pool: Annotated[str, typer.Option(help="languages to rank, separated by commas")],
    by: Annotated[str, typer.Option(help="distance, several with +, mixed, or all")] = "syntactic",
) -> None:
    """Rank the languages of a pool by their distance to a target."""
    from orchestrator.languages import related_table

    console.print(related_table(target, _codes(pool), by))


@languages_app.command("map")
def languages_map(
    pool: Annotated[str, typer.Option(help="pool languages, separated by commas")],
    targets: Annotated[str, typer.Option(help="target languages, separated by commas")] = "",
    out: Annotated[Path, typer.Option(help="PNG, SVG or PDF file")] = Path("languages.png"),
) -> None:
    """Draw pool and targets on a world map."""
    from orchestrator.languages import draw_map

    left_off = draw_map(_codes(pool), _codes(targets), out)
    console.print(f"map: {out}" + (f" (no coordinates: {', '.join(left_off)})" if left_off else ""))


@languages_app.command("covered")
def languages_covered() -> None:
    """List the languages that the embedded CLDR corpora cover, best first."""
    from jobs.data.cldr import covered_languages

    console.print(" ".join(covered_languages()), soft_wrap=True)


for on_campaigns in (plan, operations.status, operations.logs, operations.gc, operations.export, operations.push):
    app.command(on_campaigns.__name__)(on_campaigns)
for on_adapters in (merge, inspect, compare):
    app.command(on_adapters.__name__)(on_adapters)
for on_kubernetes in (render, submit, k8s_status, logs, stop):
    k8s_app.command(on_kubernetes.__name__)(on_kubernetes)
app.command("submit")(jobs_commands.submit)
app.command("stop")(stop_here)
for of_jobs in (jobs_commands.list_, jobs_commands.status, jobs_commands.logs, jobs_commands.stop):
    jobs_app.command(of_jobs.__name__.rstrip("_"))(of_jobs)
app.add_typer(languages_app, name="languages")
app.add_typer(jobs_app, name="jobs")
app.add_typer(k8s_app, name="k8s")


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
    except TimeToLeave:
        print("told to end, and left in order; the same command goes on from here", file=sys.stderr)
        sys.exit(LEFT)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


def _codes(text: str) -> list[str]:
    return [code.strip() for code in text.split(",") if code.strip()]


def _tell(outcome: Outcome, workspace: Path) -> None:
    from orchestrator.endless import endless_notes
    from orchestrator.report import results_table

    summary = outcome.summary
    for note in (*summary.notes, *endless_notes(summary.records.values())):
        console.print(f"note: {note}", style="yellow", soft_wrap=True, markup=False)
    console.print(results_table(outcome.report.results))
    executed, reused = summary.count("succeeded"), summary.count("reused")
    failed, skipped = summary.count("failed"), summary.count("skipped")
    console.print(f"{executed} steps executed, {reused} reused, {failed} failed, {skipped} skipped")
    for key, error in summary.errors.items():
        console.print(f"failed: {key}: {error}", style="red", soft_wrap=True, markup=False)
    console.print(f"report: {outcome.report.html}", soft_wrap=True)
    console.print(f"MLflow: adapterfleet ui --workspace {workspace}", soft_wrap=True)
