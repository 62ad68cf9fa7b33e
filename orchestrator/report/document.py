"""A report as blocks of content, rendered to HTML and to Markdown by `orchestrator.report.render`.

Text may hold `code` in backticks and **bold**; everything else in it is literal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from orchestrator.plots.panels import Panel

LegendMark = Literal["line", "dashed", "dot"]
Tone = Literal["plain", "lead", "note", "alarm"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A table cell: a main text, `beside` it its deviation, and under it a smaller text.

    `best` is set in bold; `gain` and `loss` are certain changes, of an `unsure` one the interval includes zero;
    `chosen` marks the better proxy.
    """

    text: str
    small: str = ""
    mark: Literal["", "best", "gain", "loss", "unsure"] = ""
    chosen: bool = False
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """`numeric` columns are set flush right; `colour` shows the system's colour beside the title."""

    title: str
    numeric: bool = True
    colour: str = ""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Tiles:
    """The few numbers that matter most: (value, what it is)."""

    tiles: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of as many cells as there are columns; the first column names the row."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    total: tuple[Cell, ...] = ()


def columns(words: Iterable[str], numbers: Iterable[str] = ()) -> tuple[Column, ...]:
    """Columns of words, then of numbers, by their titles."""
    return (*(Column(title, numeric=False) for title in words), *map(Column, numbers))


def row(*cells: str | Cell) -> tuple[Cell, ...]:
    """A row of a table; plain texts become cells."""
    return tuple(Cell(cell) if isinstance(cell, str) else cell for cell in cells)


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values, the values in code type."""

    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class FigureRef:
    """A figure: `name` is its file's stem, `alt` says in words what it shows."""

    name: str
    panel: Panel
    alt: str


@dataclass(frozen=True, slots=True)
class Gallery:
    """Small multiples with one legend: (what, colour name, mark)."""

    figures: tuple[FigureRef, ...]
    legend: tuple[tuple[str, str, LegendMark], ...] = ()
    size: Literal["small", "medium", "large"] = "medium"


@dataclass(frozen=True, slots=True)
class Code:
    """A code block."""

    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Fold:
    """Details that are closed at first; never holds another fold."""

    title: str
    blocks: tuple[Paragraph | Table | Facts | Code | Gallery, ...]


Block = Paragraph | Tiles | Table | Facts | Gallery | Code | Fold


MOST_SHOWN = 24


def foldable(gallery: Gallery) -> tuple[Block, ...]:
    """The gallery; of more than `MOST_SHOWN` figures the rest is folded away."""
    shown, rest = gallery.figures[:MOST_SHOWN], gallery.figures[MOST_SHOWN:]
    if not rest:
        return (gallery,)
    more = Gallery(rest, gallery.legend, gallery.size)
    return (Gallery(shown, gallery.legend, gallery.size), Fold(f"{len(rest)} more figures", (more,)))


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of the report."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """The whole report. `state`: one or two words such as "complete" or "12 steps missing"."""

    title: str
    subtitle: str
    state: str
    sections: tuple[Section, ...]


def figures(document: Document) -> list[FigureRef]:
    """Every figure of the document in reading order."""
    found: list[FigureRef] = []
    for section in document.sections:
        for block in section.blocks:
            for inner in block.blocks if isinstance(block, Fold) else (block,):
                found += inner.figures if isinstance(inner, Gallery) else ()
    return found
