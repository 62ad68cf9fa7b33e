"""A figure's axes stand still, whatever the last bits of the layout's solver."""

import io

import matplotlib
import pytest
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from orchestrator.plots.svg import settle


class Trembling(ConstrainedLayoutEngine):
    """The constrained layout with an error in the last bits, such as its solver makes from draw to draw."""

    def __init__(self, error: float) -> None:
        super().__init__()
        self.error = error

    def execute(self, fig):
        super().execute(fig)
        for axes in fig.axes:
            left, bottom, width, height = axes.get_position(original=True).bounds
            axes.set_position((left, bottom, width + self.error, height - self.error))


def drawn(error: float, settled: bool) -> str:
    with matplotlib.rc_context({"svg.hashsalt": "still"}):
        figure = Figure(layout=Trembling(error))
        upper, lower = figure.subplots(2, 1, sharex=True)
        upper.plot([0, 1], [0, 2])
        lower.barh([0, 1], [1, 2])
        figure.colorbar(lower.scatter([0, 1], [0, 1], c=[0, 1]), ax=[upper, lower])
        figure.suptitle("still")
        file = io.StringIO()
        (settle(figure) if settled else figure).savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def test_equal_figures_are_equal_bytes_in_spite_of_a_solver_that_trembles():
    assert drawn(0.0, settled=False) != drawn(3e-14, settled=False)  # what goes wrong without
    assert drawn(0.0, settled=True) == drawn(3e-14, settled=True) == drawn(-2e-13, settled=True)


def test_a_settled_figure_looks_as_the_layout_wants_it():
    figure = Figure(layout="constrained")
    axes = figure.subplots(1, 3)
    settle(figure)
    found = [axis.get_position().bounds for axis in axes]
    other = Figure(layout="constrained")
    others = other.subplots(1, 3)
    other.draw_without_rendering()
    for bounds, axis in zip(found, others, strict=True):
        assert bounds == pytest.approx(axis.get_position().bounds, abs=1e-6)


def test_a_figure_without_a_layout_stays_as_it_is():
    figure = Figure()
    axes = figure.add_axes((0.1234567891, 0.1, 0.5, 0.5))
    settle(figure)
    assert axes.get_position().x0 == 0.1234567891
