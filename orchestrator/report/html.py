"""A document as one self-contained HTML page: style and figures inline, nothing loaded from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import escape
from importlib.resources import files
from typing import Any

from orchestrator.plots.palette import COLOURS
from orchestrator.report.document import (
    Block,
    Cell,
    Code,
    Column,
    Document,
    Facts,
    Fold,
    Gallery,
    Paragraph,
    Section,
    Table,
    Tiles,
)

_WIDE = 9  # columns of a table; with more they stand closer
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(document: Document, figures: Mapping[str, str]) -> str:
    """The page; `figures`: figure name -> SVG element."""
    sections = "\n".join(_section(section, figures) for section in document.sections)
    links = "".join(f'<a href="#{_anchor(s.title)}">{escape(s.title)}</a>' for s in document.sections[1:])
    state = "done" if document.state == "complete" else "open"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(document.title)}</title>
<style>
{theme()}
{files("orchestrator").joinpath("report.css").read_text(encoding="utf-8")}
</style>
</head>
<body>
<header>
<p class="kicker">adapterfleet <span class="state {state}">{escape(document.state)}</span></p>
<h1>{escape(document.title)}</h1>
<p class="subtitle">{_inline(document.subtitle)}</p>
<nav>{links}</nav>
</header>
<main>
{sections}
</main>
</body>
</html>
"""


def theme() -> str:
    """The colours as CSS variables, for light and for dark."""
    light = "".join(f"--{name}:{colours[0]};" for name, colours in COLOURS.items())
    dark = "".join(f"--{name}:{colours[1]};" for name, colours in COLOURS.items())
    return f":root{{{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"


def _section(section: Section, figures: Mapping[str, str]) -> str:
    blocks = "\n".join(_block(block, figures) for block in section.blocks)
    return f'<section id="{_anchor(section.title)}">\n<h2>{escape(section.title)}</h2>\n{blocks}\n</section>'


def _block(block: Block, figures: Mapping[str, str]) -> str:
    if isinstance(block, Gallery):
        return _gallery(block, figures)
    if isinstance(block, Fold):
        inside = "\n".join(_block(inner, figures) for inner in block.blocks)
        return f"<details><summary>{escape(block.title)}</summary>\n{inside}\n</details>"
    return _WRITERS[type(block)](block)


def _paragraph(block: Paragraph) -> str:
    return f'<p class="{block.tone}">{_inline(block.text)}</p>'


def _tiles(block: Tiles) -> str:
    items = "".join(f"<li><b>{escape(value)}</b><span>{escape(what)}</span></li>" for value, what in block.tiles)
    return f'<ul class="tiles">{items}</ul>'


def _table(block: Table) -> str:
    caption = f"<caption>{_inline(block.caption)}</caption>" if block.caption else ""
    head = "".join(_heading(column) for column in block.columns)
    body = "\n".join(_row(row, block.columns) for row in block.rows)
    foot = f"<tfoot>{_row(block.total, block.columns)}</tfoot>" if block.total else ""
    # The wrapper takes focus so that it can be scrolled by keyboard.
    wide = ' class="wide"' if len(block.columns) > _WIDE else ""
    return (
        f'<div class="scroll" tabindex="0"><table{wide}>{caption}<thead><tr>{head}</tr></thead>'
        f"<tbody>\n{body}\n</tbody>{foot}</table></div>"
    )


def _heading(column: Column) -> str:
    swatch = f'<i class="swatch" style="background:var(--{column.colour})"></i>' if column.colour else ""
    return f'<th scope="col"{_numeric(column)}>{swatch}{_inline(column.title)}</th>'


def _row(row: tuple[Cell, ...], columns: tuple[Column, ...]) -> str:
    first, *others = zip(row, columns, strict=True)
    name = f'<th scope="row">{_content(first[0])}</th>'
    # Narrow screens show a row as a list, with the column's title from `data-title`.
    cells = (
        f'<td{_numeric(column)} data-title="{escape(column.title)}">{_content(cell)}</td>' for cell, column in others
    )
    return f"<tr>{name}{''.join(cells)}</tr>"


def _numeric(column: Column) -> str:
    return ' class="n"' if column.numeric else ""


def _content(cell: Cell) -> str:
    text = _inline(cell.text)
    if cell.mark:
        text = f'<span class="{cell.mark}">{text}</span>'
    if cell.chosen:
        text = f'<span class="chosen" title="the better proxy, chosen on validation data">◆</span>{text}'
    if cell.beside:
        text += f'<span class="beside">{_inline(cell.beside)}</span>'
    text = f"{text}<small>{_inline(cell.small)}</small>" if cell.small else text
    return f"<div>{text}</div>"


def _facts(block: Facts) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in block.facts)
    return f"<dl>{rows}</dl>"


def _code(block: Code) -> str:
    return f'<pre tabindex="0"><code class="{escape(block.language)}">{escape(block.text)}</code></pre>'


def _gallery(block: Gallery, figures: Mapping[str, str]) -> str:
    legend = "".join(
        f'<li><i class="{mark}" style="color:var(--{colour})"></i>{escape(what)}</li>'
        for what, colour, mark in block.legend
    )
    legend = f'<ul class="legend">{legend}</ul>' if legend else ""
    panels = "\n".join(
        f'<figure role="img" aria-label="{escape(figure.alt)}">{figures[figure.name]}</figure>'
        for figure in block.figures
    )
    return f'{legend}<div class="gallery {block.size}">\n{panels}\n</div>'


def _inline(text: str) -> str:
    """Escaped text with `code` and **bold**."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


_WRITERS: dict[type[Any], Callable[[Any], str]] = {
    Paragraph: _paragraph,
    Tiles: _tiles,
    Table: _table,
    Facts: _facts,
    Code: _code,
}
