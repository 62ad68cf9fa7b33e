"""The places of a figure's axes, settled once: equal figures are then written as equal bytes."""

from __future__ import annotations

from matplotlib.figure import Figure

_DIGITS = 6  # of the figure's width and height: far below a pixel, far above a solver's last bits


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
