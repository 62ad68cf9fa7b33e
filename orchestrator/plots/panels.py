"""What a figure shows, as plain frozen values; drawn by `orchestrator.plots.svg` only when they have changed.

A colour is the name of a system's colour (`COLOURS`), the same in every figure and table.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Curve:
    """A line with a band of plus and minus `deviation` around it; `strong` lines stand out."""

    label: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    deviation: tuple[float, ...]
    colour: str
    strong: bool


@dataclass(frozen=True, slots=True)
class LambdaPanel:
    """Validation score against lambda, systems that do not depend on it as dashed lines (paper, Fig. 5)."""

    title: str
    x_label: str
    curves: tuple[Curve, ...]
    dashed: tuple[tuple[str, float, str], ...]
    chosen: tuple[float, float]


@dataclass(frozen=True, slots=True)
class GainBar:
    """One target's gain with its interval; nan where there is none. `sure`: the interval excludes zero."""

    label: str
    value: float
    low: float
    high: float
    sure: bool
    text: str


@dataclass(frozen=True, slots=True)
class GainPanel:
    """Gains as bars with intervals (paper, Figs 2 and 3)."""

    title: str
    x_label: str
    bars: tuple[GainBar, ...]


@dataclass(frozen=True, slots=True)
class TrainingPanel:
    """A measured course, such as losses of one adapter over optimizer steps, one curve a seed and split.

    `best`: the points that were kept, e.g. checkpoints (x, y).
    """

    title: str
    note: str
    curves: tuple[Curve, ...]
    best: tuple[tuple[float, float], ...]
    y_limits: tuple[float, float]
    x_label: str = "optimizer steps"


@dataclass(frozen=True, slots=True)
class HeatPanel:
    """A symmetric matrix of similarities (paper, Fig. 10); the diagonal is left blank."""

    title: str
    labels: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class DensityPanel:
    """Distribution of each vector's weights against a Gaussian of the same width (paper, Fig. 9)."""

    title: str
    x_label: str
    edges: tuple[float, ...]
    density: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Objective:
    """An axis of scores; `falling`: lower ones are better, and the axis is turned so that better is up or right."""

    label: str
    falling: bool


@dataclass(frozen=True, slots=True)
class ParetoPanel:
    """Candidates by their scores, [candidates][objectives]; the numbers of those on the front, and of marked ones.

    Two objectives span a plane; more stand side by side, each scaled to its own range.
    """

    title: str
    objectives: tuple[Objective, ...]
    scores: tuple[tuple[float, ...], ...]
    front: tuple[int, ...]
    chosen: int
    reference: int


@dataclass(frozen=True, slots=True)
class BudgetPanel:
    """Test score against a budget of tokens, on a logarithmic axis (paper, Fig. 4); `dashed` need no budget."""

    title: str
    x_label: str
    curves: tuple[Curve, ...]
    dashed: tuple[tuple[str, float, str], ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of a timeline: `parts` are (colour, begin, end) in seconds, in the order of time."""

    label: str
    note: str
    parts: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True, slots=True)
class TimelinePanel:
    """What went on at once, row by row, over the `seconds` of a run; each row has its label and a note above it."""

    title: str
    rows: tuple[Bar, ...]
    seconds: float


Panel = TimelinePanel | BudgetPanel | ParetoPanel | LambdaPanel | GainPanel | TrainingPanel | HeatPanel | DensityPanel
