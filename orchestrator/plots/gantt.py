"""A simulated schedule as a picture: what the cluster works on, machine by machine, and what makes it last so long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from jobs.errors import Fault, InputError
from orchestrator.plots.palette import COLOURS
from orchestrator.plots.svg import settle
from orchestrator.scheduling.schedule import Schedule
from orchestrator.scheduling.simulation import START_UP, Span
from orchestrator.wording import duration, short

FORMATS = (".svg", ".png", ".pdf")
INK, MUTED, GRID = (COLOURS[name][0] for name in ("ink", "muted", "grid"))
# In the order in which a campaign does them; the hues are those of the report.
JOBS = {
    START_UP: "#c3c9d0",
    "initial-adapter": COLOURS["fixed"][0],
    "language-adapter": COLOURS["proxy-1"][0],
    "task-adapter": COLOURS["proxy-4"][0],
    "search": COLOURS["arithmetic"][0],
    "merge": COLOURS["own"][0],
    "evaluation": COLOURS["proxy-2"][0],
}
COLUMNS = 600  # points of time of the profile and of the machines' raster
MOST_LANES = 40  # up to so many, every lane is drawn; more are put together, a row per node or per some nodes
MOST_ROWS = 128
_UNITS = ((90.0, 1.0, "seconds"), (5400.0, 60.0, "minutes"), (float("inf"), 3600.0, "hours"))


def draw_gantt(schedule: Schedule, file: Path, title: str) -> None:
    """Write the picture; the suffix of `file` says how. Raises InputError for another suffix than svg, png and pdf."""
    if file.suffix not in FORMATS:
        raise InputError(Fault("no format for a picture", "--gantt", file.name, f"end it in {', '.join(FORMATS)}"))
    with matplotlib.rc_context({"svg.hashsalt": title, "font.size": 8.5, "font.family": "sans-serif"}):
        figure = _figure(schedule, title)
        FigureCanvasAgg(figure)
        settle(figure)
        metadata = {"Date": None} if file.suffix == ".svg" else None
        figure.savefig(file, dpi=150, facecolor="white", metadata=metadata)


def _figure(schedule: Schedule, title: str) -> Figure:
    lanes = sorted({(span.node, span.lane) for span in schedule.spans})
    rows = len(lanes) if len(lanes) <= MOST_LANES else min(MOST_ROWS, schedule.cluster.nodes)
    heights = [1.7, min(3.6, max(1.2, 0.17 * rows)), 0.45 + 0.24 * len(schedule.critical)]
    figure = Figure(figsize=(10, sum(heights) + 1.7), layout="constrained")
    figure.suptitle(title, x=0.012, ha="left", fontsize=11, fontweight="bold", color=INK)
    profile, machines, path = figure.subplots(3, 1, sharex=True, height_ratios=heights)
    scale, unit = next((scale, unit) for most, scale, unit in _UNITS if schedule.makespan < most)
    jobs = [job for job in (*JOBS, *_others(schedule)) if any(span.job == job for span in schedule.spans)]
    _profile(profile, schedule, jobs, scale)
    if len(lanes) <= MOST_LANES:
        _lanes(machines, schedule, lanes, scale)
    else:
        _nodes(machines, schedule, jobs, rows, scale)
    _path(path, schedule, scale)
    path.set_xlabel(unit)
    path.set_xlim(0, schedule.makespan / scale)
    for axes in (profile, machines, path):
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelcolor=MUTED)
    handles = [Patch(color=_colour(job), label=job) for job in jobs]
    profile.legend(
        handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(jobs), frameon=False, fontsize=8,
        handlelength=1, handleheight=1, columnspacing=1.2, labelcolor=INK, borderaxespad=0.1,
    )  # fmt: skip
    return figure


def _others(schedule: Schedule) -> list[str]:
    return sorted({span.job for span in schedule.spans} - JOBS.keys())


def _colour(job: str) -> str:
    return JOBS.get(job, COLOURS["proxy-3"][0])


def _heading(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=8.5, color=MUTED, pad=4)


def _profile(axes: Axes, schedule: Schedule, jobs: list[str], scale: float) -> None:
    """How many GPUs (CPUs) each job uses over time."""
    edges = np.linspace(0, schedule.makespan, COLUMNS + 1)
    used = {job: np.zeros(COLUMNS) for job in jobs}
    for span in schedule.spans:
        _add(used[span.job], edges, span, span.gpus if schedule.counts_gpus else span.cpus)
    total = schedule.cluster.nodes * (schedule.cluster.gpus if schedule.counts_gpus else schedule.cluster.cpus)
    step = [np.append(row, row[-1]) for row in used.values()]
    axes.stackplot(edges / scale, step, colors=[_colour(job) for job in jobs], step="post", linewidth=0)
    axes.axhline(total, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_ylim(0, total * 1.06)
    axes.set_yticks([0, total / 2, total], ["0", f"{total / 2:g}", f"{total:,}"])
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    what = "GPUs" if schedule.counts_gpus else "CPUs"
    _heading(axes, f"{what} in use: {schedule.utilisation:.0%} of {schedule.cluster_hours:,.4g} {what[:-1]}-hours")


def _add(row: Any, edges: Any, span: Span, amount: float) -> None:
    """Add a span to a row of columns, each by the share of it that the span covers."""
    width = edges[1] - edges[0]
    first = min(int(span.start / width), COLUMNS - 1)
    last = min(int(span.end / width), COLUMNS - 1)
    if first == last:
        row[first] += amount * (span.end - span.start) / width
        return
    row[first] += amount * (edges[first + 1] - span.start) / width
    row[first + 1 : last] += amount
    row[last] += amount * (span.end - edges[last]) / width


def _lanes(axes: Axes, schedule: Schedule, lanes: list[tuple[int, int]], scale: float) -> None:
    """Every process that held a place, as a row of bars."""
    rows = {lane: number for number, lane in enumerate(lanes)}
    for job in sorted({span.job for span in schedule.spans}):
        spans = [span for span in schedule.spans if span.job == job and span.end > span.start]
        places = [rows[span.node, span.lane] for span in spans]
        axes.barh(
            places, [(s.end - s.start) / scale for s in spans], left=[s.start / scale for s in spans], height=0.82,
            color=_colour(job), linewidth=0.3, edgecolor="white",
        )  # fmt: skip
    axes.set_ylim(len(lanes) - 0.5, -0.5)
    shown = [lane for lane in lanes if lane[1] == 0]
    axes.set_yticks([rows[lane] for lane in shown], [f"node {node + 1}" for node, _ in shown])
    for lane in shown[1:]:
        axes.axhline(rows[lane] - 0.5, color=GRID, linewidth=0.8)
    _heading(axes, "each place of a bank or a warm worker")


def _nodes(axes: Axes, schedule: Schedule, jobs: list[str], rows: int, scale: float) -> None:
    """A row per node (or per equal number of nodes): hue of what it mostly does, paler the more of it is idle."""
    edges = np.linspace(0, schedule.makespan, COLUMNS + 1)
    per_row = -(-schedule.cluster.nodes // rows)
    rows = -(-schedule.cluster.nodes // per_row)
    used = np.zeros((rows, len(jobs), COLUMNS))
    for span in schedule.spans:
        place = span.node // per_row, jobs.index(span.job)
        _add(used[place], edges, span, span.gpus if schedule.counts_gpus else span.cpus)
    room = per_row * (schedule.cluster.gpus if schedule.counts_gpus else schedule.cluster.cpus)
    share = np.clip(used.sum(axis=1) / room, 0, 1)[..., None]
    hues = np.array([to_rgb(_colour(job)) for job in jobs])[used.argmax(axis=1)]
    # Anything at all is visible; a full node has its job's full hue.
    strength = np.where(share > 0.001, 0.18 + 0.82 * share, 0)
    image = 1 - strength * (1 - hues)
    axes.imshow(image, aspect="auto", interpolation="nearest", extent=(0, schedule.makespan / scale, rows - 0.5, -0.5))
    ticks = sorted({0, rows - 1, *range(7, rows, 8)})
    axes.set_yticks(ticks, [f"node {row * per_row + 1}" for row in ticks])
    many = "a row per node" if per_row == 1 else f"{per_row} nodes a row"
    _heading(axes, f"{many}: the job that most of it does, paler where less of it is in use")


def _path(axes: Axes, schedule: Schedule, scale: float) -> None:
    """The steps of the critical path: waiting for a place or a bank in grey, then the step's own time."""
    for row, one in enumerate(schedule.critical):
        own = max(one.end - one.alone, one.ready)
        axes.barh(row, (own - one.ready) / scale, left=one.ready / scale, height=0.5, color=JOBS[START_UP])
        axes.barh(row, (one.end - own) / scale, left=own / scale, height=0.7, color=_colour(one.step.job))
        left = one.end < 0.62 * schedule.makespan
        text = f"{short(one.step.key)}  {duration(one.alone)}"
        axes.annotate(
            text, ((one.end if left else one.ready) / scale, row), xytext=(5 if left else -5, 0),
            textcoords="offset points", ha="left" if left else "right", va="center", fontsize=8, color=INK,
        )  # fmt: skip
    axes.set_ylim(len(schedule.critical) - 0.4, -0.6)
    axes.set_yticks([])
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    _heading(
        axes, f"critical path, {duration(schedule.shortest)} with nothing else to do; grey: waiting, or sharing a bank"
    )
