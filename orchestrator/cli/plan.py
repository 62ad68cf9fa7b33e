"""The command `adapterfleet plan`: the steps of a campaign, and how long they take on a cluster, on paper."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from jobs.backbones.installed import fetch_note
from jobs.errors import Fault, InputError, raise_all
from jobs.spec import JOBS
from orchestrator.cli.options import (
    HERE,
    CampaignFile,
    Set,
    Workspace,
    console,
    looked_at,
    numbers,
    path_option,
    plan_file,
    print_whole,
    say_broken,
    terminal,
)
from orchestrator.scheduling.cluster_model import parse_cluster
from orchestrator.scheduling.cost import cost_model
from orchestrator.scheduling.schedule import simulate
from orchestrator.scheduling.startup_times import KINDS, Kind, StartupTimes, known_startup_times
from orchestrator.search.earlier_searches import change_lines
from orchestrator.store.artifacts import open_store, take_inventory
from orchestrator.store.explain import explain as compare
from orchestrator.store.explain import find_step

if TYPE_CHECKING:
    from orchestrator.plan.plan import Plan
    from orchestrator.scheduling.cost import CostModel
    from orchestrator.scheduling.schedule import Schedule
    from orchestrator.store.step import Step


def explain(
    file: CampaignFile,
    step: Annotated[str, typer.Argument(help="key, name, or the beginning of one")],
    workspace: Workspace = HERE,
    set_: Set = None,
) -> None:
    """Say why a step is new: what differs from the nearest finished step of that name, or from an earlier search."""
    from orchestrator.cli.tables import explanation_table

    with looked_at(workspace) as place:
        steps, store = plan_file(file, place, set_).steps, open_store(place)
        found, broken = find_step(steps, step), list[str]()
        explanation = compare(found, store.records(lambda damage: broken.append(str(damage))))
        damaged = take_inventory([found], store).damaged
        say_broken(console, (*broken, *map(str, damaged.values())))
        if not damaged:
            console.print(explanation_table(explanation))
        for line in change_lines(store, steps, [found]):
            console.print(line, soft_wrap=True, markup=False)


def schema() -> None:
    """Print the JSON Schema of the campaign file."""
    from orchestrator.campaign.load import json_schema

    print(json.dumps(json_schema(), indent=1, ensure_ascii=False))


def plan(
    file: CampaignFile,
    workspace: Workspace = HERE,
    set_: Set = None,
    all_: Annotated[bool, typer.Option("--all", help="list every step")] = False,
    cluster: Annotated[str, typer.Option(help="simulate it, e.g. nodes=64,gpus=8 or nodes=4,cpus=32")] = "",
    gantt: Annotated[
        Path | None,
        path_option(purpose="picture of the simulation: SVG, PNG or PDF"),
    ] = None,
    assume: Annotated[
        list[str] | None,
        typer.Option(
            help="job=seconds of a step (search: of one trial and seed), in place of the estimate; "
            "bank-start-up, worker-start-up, search-start-up=seconds"
        ),
    ] = None,
) -> None:
    """Show the steps of a campaign: how many, reused or new, and what they will cost; on a cluster with --cluster."""
    from orchestrator.campaign.notes import campaign_notes
    from orchestrator.cli.tables import MOST_CHOICES, advice_line, choices_table, plan_table, steps_table
    from orchestrator.results.advice import advise, past_searches, planned_searches

    if gantt and not cluster:
        raise InputError(Fault("a picture needs a cluster to draw", "--gantt", str(gantt), "add --cluster nodes=..."))
    console = terminal()
    assumed, starts = _assumed(assume)
    with looked_at(workspace) as place:
        planned, store = plan_file(file, place, set_), open_store(place)
        startup_times = known_startup_times(store.root, starts)
        found = take_inventory(planned.steps, store)
        broken = [str(damage) for damage in found.damaged.values()]
        costs = cost_model(store.records(lambda damage: broken.append(str(damage)), found.records), assumed)
        new = [step for step in planned.steps if step.key not in found.records]
        asked = tuple(planned_searches(planned, [step.key for step in new]))
        advice = advise(past_searches(store.root), asked) if asked else ()
    say_broken(console, broken)
    if all_:
        console.print(steps_table(planned.steps, found.records, costs))
    print_whole(console, plan_table(planned, found.records, costs))
    if choices := choices_table(planned.comparisons, None if all_ else MOST_CHOICES):
        console.print(choices)
    for note in (*campaign_notes(planned.campaign), *planned.notes, *fetch_note(planned.backbone)):
        console.print(f"note: {note}", style="yellow", soft_wrap=True, markup=False)
    for one in advice:
        console.print(f"advice: {advice_line(one)}", soft_wrap=True, markup=False, highlight=False)
    if cluster:
        schedule = _simulate(console, planned, new, costs, startup_times, cluster)
        if new and gantt:
            from orchestrator.plots.gantt import draw_gantt

            draw_gantt(schedule, gantt, f"{planned.campaign.campaign} on {schedule.cluster}")
            console.print(f"picture: {gantt}", soft_wrap=True)


def _simulate(
    console: Console, planned: Plan, new: list[Step], costs: CostModel, startup_times: StartupTimes, cluster: str
) -> Schedule:
    schedule = simulate(new, costs, planned.campaign.resources, parse_cluster(cluster), startup_times.overheads)
    if not new:
        console.print("nothing to simulate: every step is reused")
        return schedule
    print_whole(console, _jobs_table(schedule, {step.job: costs.source(step) for step in new}))
    print_whole(console, _path_table(schedule))
    for line in (*_sentences(schedule), startup_times.sentence()):
        console.print(line, soft_wrap=True, highlight=False)
    if schedule.cluster.gpus and not schedule.counts_gpus:
        todo = "set resources.gpus_per_bank and resources.gpus_per_evaluator"
        console.print(f"note: the campaign asks for no GPU, so all of them stay idle; {todo}", style="yellow")
    return schedule


def _jobs_table(schedule: Schedule, sources: dict[str, str]) -> Table:
    unit = "GPU-hours" if schedule.counts_gpus else "CPU-hours"
    columns = numbers("steps", unit, "from", "until")
    title = f"simulated on {schedule.cluster}"
    table = Table("job", *columns, "seconds of a step are", title=title, title_justify="left")
    begins: dict[str, float] = {}
    for span in schedule.spans:
        begins[span.job] = min(span.start, begins.get(span.job, math.inf))
    for job, steps in schedule.jobs().items():
        until = max(end for key, end in schedule.ends.items() if key.startswith(f"{job}/"))
        row = (f"{steps:,}", f"{schedule.busy_hours(job):,.2f}", _clock(begins[job]), _clock(until), sources[job])
        table.add_row(job, *row)
    return table


def _path_table(schedule: Schedule) -> Table:
    columns = numbers("alone", "inputs ready", "recorded")
    table = Table("step", *columns, title="critical path", title_justify="left")
    for one in schedule.critical:
        table.add_row(one.step.key, _clock(one.alone), _clock(one.ready), _clock(one.end))
    return table


def _sentences(schedule: Schedule) -> list[str]:
    unit = "GPU-hours" if schedule.counts_gpus else "CPU-hours"
    return [
        f"makespan {_clock(schedule.makespan)}; the critical path alone takes {_clock(schedule.shortest)}",
        f"{schedule.busy_hours():,.2f} {unit} of work in {schedule.cluster_hours:,.2f} of the cluster: "
        f"{schedule.utilisation:.0%} used",
    ]


def _clock(seconds: float) -> str:
    """`1:02:03`, with tenths below a minute."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _assumed(items: list[str] | None) -> tuple[dict[str, float], dict[Kind, float]]:
    """`job=seconds` and `bank-start-up=seconds` as numbers. Raises InputError with every item that is none."""
    starts: dict[str, Kind] = {f"{kind}-start-up": kind for kind in KINDS}
    names = [*(name for name, _ in JOBS.values()), *starts]
    assumed, begun, faults = dict[str, float](), dict[Kind, float](), []
    for item in items or ():
        name, _, text = item.partition("=")
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        if name not in names or not 0 < seconds < math.inf:
            faults.append(Fault("--assume takes job=seconds", "--assume", item, f"jobs: {', '.join(names)}"))
        elif name in starts:
            begun[starts[name]] = seconds
        else:
            assumed[name] = seconds
    raise_all(faults)
    return assumed, begun
