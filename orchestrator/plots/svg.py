"""Panels -> SVG: small, deterministic, text as text, colours that follow the reader's light or dark mode."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from orchestrator.plots.palette import COLOURS, themed
from orchestrator.plots.panels import (
    BudgetPanel,
    DensityPanel,
    GainPanel,
    HeatPanel,
    LambdaPanel,
    Panel,
    ParetoPanel,
    TimelinePanel,
    TrainingPanel,
)
from orchestrator.plots.timeline import draw_timeline

LIGHT = {name: light for name, (light, _) in COLOURS.items()}
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.labelcolor": LIGHT["muted"],
    "text.color": LIGHT["ink"],
    "axes.edgecolor": LIGHT["grid"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "axes.unicode_minus": True,
    "grid.color": LIGHT["grid"],
    "grid.linewidth": 0.7,
    "xtick.color": LIGHT["grid"],
    "ytick.color": LIGHT["grid"],
    "xtick.labelcolor": LIGHT["muted"],
    "ytick.labelcolor": LIGHT["muted"],
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "ytick.major.size": 0,
    "xtick.major.size": 3,
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
# Low to high similarity; both ends keep apart from a light and from a dark page.
_HEAT = LinearSegmentedColormap.from_list("similarity", ["#e6eef6", "#8db8dc", "#2f7fbc", "#0b3c6f"])
_HEAT_RASTER_FROM = 40
_HEAT_TEXT_UP_TO = 16
_DIGITS = 6  # of the figure's width and height: far below a pixel, far above a solver's last bits
_TITLE_LETTERS = 34  # of a small panel: its title and the number beside it


def draw(panel: Panel) -> str:
    """The panel as an SVG document; equal panels give equal text."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": panel.title + type(panel).__name__}):
        figure = settle(_DRAWINGS[type(panel)](panel))
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return themed(buffer.getvalue())


def settle(figure: Figure) -> Figure:
    """Lay the figure out now and keep its axes where they come to stand, rounded to a millionth of the figure.

    The solver of the constrained layout orders its constraints by their addresses, so that its answers for equal
    figures differ in the last bits from draw to draw; an SVG's ids are hashed from exactly these numbers.
    """
    engine = figure.get_layout_engine()
    if engine is None:
        return figure
    engine.execute(figure)
    figure.set_layout_engine("none")
    for axes in figure.axes:
        left, bottom, width, height = (round(float(side), _DIGITS) for side in axes.get_position(original=True).bounds)
        axes.set_position((left, bottom, width, height))
    return figure


def _axes(width: float, height: float, title: str, size: float = 9) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03)  # type: ignore[union-attr, call-arg]
    axes = figure.add_subplot()
    figure.suptitle(title, x=0.01, ha="left", fontsize=size, fontweight="bold", color=LIGHT["ink"])
    return figure, axes


def _lambda_curves(panel: LambdaPanel) -> Figure:
    figure, axes = _axes(3.35, 2.35, panel.title, 9 * min(1.0, 1.1 * _TITLE_LETTERS / len(panel.title)))
    axes.set_xlabel(panel.x_label)
    for _, level, colour in panel.dashed:
        axes.axhline(level, color=LIGHT[colour], linewidth=1.3, linestyle=(0, (4, 3)))
    for curve in panel.curves:
        xs, ys, spread = map(np.asarray, (curve.xs, curve.ys, curve.deviation))
        width, order = (1.9, 4) if curve.strong else (1.1, 3)
        axes.fill_between(xs, ys - spread, ys + spread, color=LIGHT[curve.colour], alpha=0.14, linewidth=0)
        axes.plot(xs, ys, color=LIGHT[curve.colour], linewidth=width, zorder=order)
    x, y = panel.chosen
    axes.axvline(x, color=LIGHT["arithmetic"], linewidth=0.8, alpha=0.5)
    axes.plot([x], [y], "o", markersize=6, color=LIGHT["arithmetic"], markeredgecolor=LIGHT["paper"], zorder=6)
    tried = [x for curve in panel.curves for x in curve.xs]
    low, high = min(tried, default=0.0), max(tried, default=1.0)
    axes.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    if (low, high) == (0, 1):
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    else:
        axes.locator_params(axis="x", nbins=5)
    axes.margins(y=0.14)
    axes.locator_params(axis="y", nbins=5)
    return figure


def _budgets(panel: BudgetPanel) -> Figure:
    figure, axes = _axes(3.35, 2.35, panel.title, 9 * min(1.0, 1.1 * _TITLE_LETTERS / len(panel.title)))
    axes.set_xlabel(panel.x_label)
    axes.set_xscale("log")
    for _, level, colour in panel.dashed:
        axes.axhline(level, color=LIGHT[colour], linewidth=1.3, linestyle=(0, (4, 3)))
    for curve in panel.curves:
        xs, ys, spread = map(np.asarray, (curve.xs, curve.ys, curve.deviation))
        axes.fill_between(xs, ys - spread, ys + spread, color=LIGHT[curve.colour], alpha=0.14, linewidth=0)
        axes.plot(xs, ys, "o-", markersize=4, color=LIGHT[curve.colour], linewidth=1.9 if curve.strong else 1.4)
    budgets = sorted({x for curve in panel.curves for x in curve.xs})
    axes.set_xticks(budgets, [_short(x) for x in budgets])
    axes.minorticks_off()
    axes.margins(x=0.06, y=0.14)
    axes.locator_params(axis="y", nbins=5)
    return figure


def _short(tokens: float) -> str:
    """ "200", "10 k", "2.5 M", "1 G"."""
    size, unit = next((pair for pair in ((1e9, " G"), (1e6, " M"), (1e3, " k")) if tokens >= pair[0]), (1.0, ""))
    return f"{tokens / size:g}{unit}"


def _gain_bars(panel: GainPanel) -> Figure:
    size = 9 * min(1.0, 1.2 * _TITLE_LETTERS / len(panel.title))
    figure, axes = _axes(3.9, 0.75 + 0.27 * len(panel.bars), panel.title, size)
    places = np.arange(len(panel.bars))[::-1]
    for place, bar in zip(places, panel.bars, strict=True):
        axes.barh(
            place, bar.value, height=0.56, color=LIGHT["arithmetic"], alpha=0.95 if bar.sure else 0.32, linewidth=0
        )
        ends = [bar.value]
        if not math.isnan(bar.low):
            axes.plot([bar.low, bar.high], [place, place], color=LIGHT["ink"], linewidth=1.1, solid_capstyle="butt")
            ends += [bar.low, bar.high]
        axes.annotate(
            bar.text, (max(0.0, *ends), place), xytext=(5, 0), textcoords="offset points", va="center",
            fontsize=7.5, color=LIGHT["ink" if bar.sure else "muted"],
        )  # fmt: skip
    axes.axvline(0, color=LIGHT["muted"], linewidth=0.9)
    axes.set_yticks(places, [bar.label for bar in panel.bars])
    axes.tick_params(axis="y", labelcolor=LIGHT["ink"], labelsize=8)
    axes.set_ylim(-0.6, len(panel.bars) - 0.4)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(panel.x_label)
    axes.locator_params(axis="x", nbins=5)
    low, high = axes.get_xlim()
    axes.set_xlim(low, high + 0.16 * (high - low))
    return figure


def _training(panel: TrainingPanel) -> Figure:
    letters = len(panel.title) + len(panel.note)
    figure, axes = _axes(2.5, 1.85, panel.title, 9 * min(1.0, _TITLE_LETTERS / letters))
    axes.set_xlabel(panel.x_label, fontsize=7, labelpad=1)
    figure.text(0.98, 0.985, panel.note, ha="right", va="top", fontsize=8, color=LIGHT["muted"])
    for curve in panel.curves:
        axes.plot(
            curve.xs, curve.ys, color=LIGHT[curve.colour],
            linewidth=1.7 if curve.strong else 0.9, alpha=1 if curve.strong else 0.75,
        )  # fmt: skip
    for x, y in panel.best:
        axes.plot([x], [y], "o", markersize=4, color=LIGHT["arithmetic"], markeredgecolor=LIGHT["paper"], zorder=6)
    axes.set_ylim(*panel.y_limits)
    axes.locator_params(axis="both", nbins=4)
    return figure


def _heat_map(panel: HeatPanel) -> Figure:
    count = len(panel.labels)
    figure, axes = _axes(3.9, 3.9, panel.title)
    values = np.array(panel.values)
    np.fill_diagonal(values, np.nan)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if count >= _HEAT_RASTER_FROM:
        axes.imshow(values, aspect="equal", interpolation="nearest", cmap=_HEAT, vmin=low, vmax=high)
    else:
        corners = np.arange(count + 1) - 0.5
        # Edges in the cell's own colour close the hairlines that renderers leave between cells.
        axes.pcolormesh(corners, corners, values, edgecolor="face", linewidth=0.4, cmap=_HEAT, vmin=low, vmax=high)
    axes.set_aspect("equal")
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    size = 7.5 if count <= 24 else 7.5 * 24 / count
    axes.set_xticks(range(count), panel.labels, rotation=90 if count > 12 else 0, fontsize=size)
    axes.set_yticks(range(count), panel.labels, fontsize=size)
    axes.tick_params(length=0, labelcolor=LIGHT["ink"])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    if count <= _HEAT_TEXT_UP_TO:
        _write_cells(axes, values, (low + high) / 2)
    return figure


def _write_cells(axes: Axes, values: Any, middle: float) -> None:
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            # White and near-black on purpose: the cell, not the page, is the background.
            colour = "#ffffff" if value > middle else "#14202c"
            text = f"{value:.2f}".replace("0.", ".").replace("-", "−")
            axes.text(column, row, text, ha="center", va="center", fontsize=6.5, color=colour)


def _densities(panel: DensityPanel) -> Figure:
    figure, axes = _axes(3.9, 2.9, panel.title)
    middles = (np.asarray(panel.edges[:-1]) + np.asarray(panel.edges[1:])) / 2
    thin = 1.0 if len(panel.density) <= 20 else 0.5
    for row in panel.density:
        axes.plot(middles, row, color=LIGHT["proxy-1"], linewidth=thin, alpha=0.55)
    gaussian = np.exp(-(middles**2) / 2) / math.sqrt(2 * math.pi)
    axes.plot(middles, gaussian, color=LIGHT["muted"], linewidth=1.3, linestyle=(0, (4, 3)))
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel("density")
    axes.set_xlim(float(panel.edges[0]), float(panel.edges[-1]))
    axes.set_ylim(bottom=0)
    axes.locator_params(axis="y", nbins=4)
    return figure


def _pareto(panel: ParetoPanel) -> Figure:
    figure, axes = _axes(max(4.2, 1.15 * len(panel.objectives)), 3.0, panel.title)
    scores = np.asarray(panel.scores)
    if len(panel.objectives) == 2:
        _plane(axes, panel, scores)
    else:
        _side_by_side(axes, panel, scores)
    return figure


def _plane(axes: Axes, panel: ParetoPanel, scores: Any) -> None:
    axes.plot(scores[:, 0], scores[:, 1], "o", markersize=3.5, color=LIGHT["fixed"], alpha=0.55, linestyle="none")
    front = scores[sorted(panel.front, key=lambda at: scores[at, 0])]
    axes.plot(front[:, 0], front[:, 1], "o-", markersize=5, linewidth=1.1, color=LIGHT["proxy-1"], zorder=4)
    for at, colour, mark in ((panel.reference, "proxy-2", "s"), (panel.chosen, "arithmetic", "o")):
        axes.plot(*scores[at], mark, markersize=8, color=LIGHT[colour], markeredgecolor=LIGHT["paper"], zorder=6)
    axes.set_xlabel(panel.objectives[0].label)
    axes.set_ylabel(panel.objectives[1].label)
    axes.margins(0.08)
    if panel.objectives[0].falling:
        axes.invert_xaxis()
    if panel.objectives[1].falling:
        axes.invert_yaxis()
    axes.locator_params(nbins=5)


def _side_by_side(axes: Axes, panel: ParetoPanel, scores: Any) -> None:
    low, high = scores.min(axis=0), scores.max(axis=0)
    worst = np.where([one.falling for one in panel.objectives], high, low)
    best = low + high - worst
    span = np.where(high > low, best - worst, 1.0)
    heights = np.where(high > low, (scores - worst) / span, 0.5)
    places = np.arange(len(panel.objectives))
    marked = {panel.reference: ("proxy-2", 1.8, 5), panel.chosen: ("arithmetic", 2.4, 6)}
    marked = {**dict.fromkeys(panel.front, ("proxy-1", 1.1, 4)), **marked}
    for at, row in enumerate(heights):
        colour, width, order = marked.get(at, ("fixed", 0.6, 3))
        alpha = 0.4 if at not in marked else 0.75 if order == 4 else 1.0
        axes.plot(places, row, "o-", color=LIGHT[colour], linewidth=width, markersize=2, zorder=order, alpha=alpha)
    for place, (bottom, top) in enumerate(zip(worst, best, strict=True)):
        axes.annotate(f"{top:.4g}", (place, 1.02), ha="center", va="bottom", fontsize=7, color=LIGHT["muted"])
        axes.annotate(f"{bottom:.4g}", (place, -0.02), ha="center", va="top", fontsize=7, color=LIGHT["muted"])
    axes.set_xticks(places, [textwrap.fill(one.label, 14) for one in panel.objectives])
    axes.set_yticks([])
    axes.set_ylim(-0.12, 1.12)
    axes.set_xlim(-0.3, len(places) - 0.7)
    axes.grid(visible=False, axis="y")


_DRAWINGS: dict[type[Any], Callable[[Any], Figure]] = {
    TimelinePanel: draw_timeline,
    ParetoPanel: _pareto,
    BudgetPanel: _budgets,
    LambdaPanel: _lambda_curves,
    GainPanel: _gain_bars,
    TrainingPanel: _training,
    HeatPanel: _heat_map,
    DensityPanel: _densities,
}
