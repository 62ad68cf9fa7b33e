"""Languages on a map. coasts.json: lines of longitude and latitude by turns, from Natural Earth's land of 1:110 million
(public domain), thinned to 0.12 degrees.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import Fault, InputError, raise_all
from search_spaces.relatedness.codes import refuse_repeats, resolve_languages
from search_spaces.relatedness.uriel import Coordinates, all_coordinates, coordinates

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_POOL, _TARGET, _LAND, _COAST = "#1f5fa8", "#c8401f", "#dbe1e8", "#9aa7b4"
_OFFSETS = ((5, 4), (5, -11), (-5, 4), (-5, -11), (0, 8), (0, -15), (9, -3), (-9, -3))

_SPARE = 0.12  # share of the drawn span that is left free around the languages


def draw_map(pool: Sequence[str], targets: Sequence[str], path: Path) -> tuple[str, ...]:
    """Write a map (format by the suffix of `path`, such as .png or .svg) of the pool and the targets, each
    labelled by its code.

    All languages that URIEL places are faint dots between the coasts; the map shows the world where the
    languages are spread over it, else the part that holds them. Returns the codes that URIEL does
    not place, which are left off. Raises InputError for unknown or repeated codes and where no language has
    coordinates.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    from orchestrator.plots.svg import settle

    refuse_repeats(pool)
    resolve_languages((*pool, *targets))
    placed, lost = _place((*dict.fromkeys((*targets, *pool)),))
    figure = Figure(figsize=(11, 5.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    near = _frame(axes, list(placed.values()))
    axes.add_collection(LineCollection(coasts(), colors=_COAST, linewidths=0.7, zorder=2), autolim=False)
    land = all_coordinates()
    axes.scatter(land[:, 1], land[:, 0], s=9 if near else 3, color=_LAND, linewidths=0, zorder=1)
    _dots(axes, [placed[code] for code in pool if code in placed and code not in targets], _POOL, "o", "pool")
    _dots(axes, [placed[code] for code in targets if code in placed], _TARGET, "D", "targets")
    axes.legend(loc="lower left", frameon=False)
    _label(axes, placed, set(targets))
    settle(figure).savefig(path)
    return lost


@cache
def coasts() -> tuple[tuple[tuple[float, float], ...], ...]:
    """Coast lines as points (longitude, latitude) in degrees; Antarctica's are left out."""
    lines = json.loads(Path(__file__).with_name("coasts.json").read_text(encoding="utf-8"))
    return tuple(tuple(zip(line[::2], line[1::2], strict=True)) for line in lines)


def _place(codes: Sequence[str]) -> tuple[dict[str, Coordinates], tuple[str, ...]]:
    """Coordinates by code, and the codes without any. Raises the faults where there is none at all."""
    placed: dict[str, Coordinates] = {}
    faults: list[Fault] = []
    lost: list[str] = []
    for code in codes:
        try:
            placed[code] = coordinates(code)
        except InputError as error:
            lost.append(code)
            faults.extend(error.faults)
    if not placed:
        raise_all(faults)
        raise InputError("there is no language to draw")
    return placed, tuple(lost)


def _dots(axes: Axes, places: Sequence[Coordinates], colour: str, marker: str, label: str) -> None:
    """One group of languages, with its entry in the legend; nothing for an empty group."""
    if places:
        latitude, longitude = zip(*places, strict=True)
        axes.scatter(
            longitude,
            latitude,
            s=26,
            color=colour,
            marker=marker,
            edgecolors="white",
            linewidths=0.6,
            zorder=3,
            label=label,
        )


def _frame(axes: Axes, places: Sequence[Coordinates]) -> bool:
    """Limits and grid. Whether they show a part: languages on less than half of the globe's width get a map
    of their own.
    """
    east = [place.longitude for place in places]
    north = [place.latitude for place in places]
    width, height = max(east) - min(east), max(north) - min(north)
    near = max(width, 2 * height) < 150
    if near:
        spare = max(4.0, _SPARE * max(width, 2 * height))
        middle = (min(north) + max(north)) / 2
        half = max(height / 2 + spare, width / 4 + spare / 2)
        axes.set(xlim=(min(east) - spare, max(east) + spare), ylim=(middle - half, middle + half))
    else:
        axes.set(xlim=(-180, 180), ylim=(-58, 82))
    axes.grid(color="#eceff3", linewidth=0.6, zorder=0)
    axes.set(xlabel="longitude (degrees)", ylabel="latitude (degrees)")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return near


def _label(axes: Axes, placed: dict[str, Coordinates], targets: set[str]) -> None:
    """Write each code beside its dot, in the first of eight places that no dot or earlier label takes."""
    scale = axes.figure.dpi / 72.0
    dots = [tuple(axes.transData.transform((place.longitude, place.latitude))) for place in placed.values()]
    taken: list[tuple[float, ...]] = [(x - 4 * scale, y - 4 * scale, x + 4 * scale, y + 4 * scale) for x, y in dots]
    for code, dot in zip(placed, dots, strict=True):
        boxes = [_box(dot, offset, len(code), scale) for offset in _OFFSETS]
        best = next((i for i, box in enumerate(boxes) if not any(_overlap(box, other) for other in taken)), 0)
        taken.append(boxes[best])
        axes.annotate(
            code,
            (placed[code].longitude, placed[code].latitude),
            xytext=_OFFSETS[best],
            textcoords="offset points",
            ha="left" if _OFFSETS[best][0] > 0 else "right" if _OFFSETS[best][0] < 0 else "center",
            fontsize=8,
            fontweight="bold" if code in targets else "normal",
            color=_TARGET if code in targets else _POOL,
            zorder=4,
        )


def _box(dot: tuple[float, ...], offset: tuple[int, int], letters: int, scale: float) -> tuple[float, ...]:
    """The box (left, bottom, right, top) in pixels of a label of `letters` at `offset` points from a dot."""
    width, height = 5.6 * letters * scale, 9 * scale
    left = dot[0] + offset[0] * scale - (width if offset[0] < 0 else width / 2 if offset[0] == 0 else 0.0)
    bottom = dot[1] + offset[1] * scale
    return left, bottom, left + width, bottom + height


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Whether two boxes (left, bottom, right, top) share area."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
