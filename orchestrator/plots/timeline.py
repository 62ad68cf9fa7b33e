"""A run as rows of coloured parts over its time, labels above their rows, so that a narrow screen shows them whole."""

from __future__ import annotations

from matplotlib.figure import Figure

from orchestrator.plots.palette import COLOURS
from orchestrator.plots.panels import TimelinePanel

ROW = 0.36  # inches of a row with its label
# A picture as wide as a telephone's screen: on a wide page two of them stand side by side.
_WIDTH, _AROUND = 4.3, 0.75
_UNITS = ((90.0, 1.0, "seconds"), (5400.0, 60.0, "minutes"), (float("inf"), 3600.0, "hours"))


def draw_timeline(panel: TimelinePanel) -> Figure:
    """The figure, not laid out yet."""
    ink, muted = COLOURS["ink"][0], COLOURS["muted"][0]
    figure = Figure(figsize=(_WIDTH, _AROUND + ROW * len(panel.rows)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03)  # type: ignore[union-attr, call-arg]
    figure.suptitle(panel.title, x=0.01, ha="left", fontsize=9.5, fontweight="bold", color=ink)
    axes = figure.add_subplot()
    scale, unit = next((scale, unit) for most, scale, unit in _UNITS if panel.seconds < most)
    for number, row in enumerate(panel.rows):
        for colour in dict.fromkeys(colour for colour, _, _ in row.parts):
            spans = [(begin / scale, (end - begin) / scale) for one, begin, end in row.parts if one == colour]
            # The line shows what is shorter than a point.
            tone = COLOURS[colour][0]
            axes.broken_barh(spans, (number, 0.46), facecolor=tone, edgecolor=tone, linewidth=0.5)
        for text, place, side, tone in ((row.label, 0.0, "left", ink), (row.note, 1.0, "right", muted)):
            axes.annotate(
                text, (place, number - 0.07), xycoords=("axes fraction", "data"), ha=side, va="bottom", fontsize=8.5,
                color=tone,
            )  # fmt: skip
    axes.set_ylim(len(panel.rows) - 0.4, -0.55)
    axes.set_xlim(0, max(panel.seconds, 1e-9) / scale)
    axes.set_yticks([])
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="x", labelsize=8.5)
    axes.set_xlabel(unit, fontsize=8.5)
    return figure
