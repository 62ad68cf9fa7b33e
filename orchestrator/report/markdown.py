"""A document as GitHub Markdown with figures as SVG files beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.report.document import (
    Block,
    Cell,
    Code,
    Document,
    Facts,
    Fold,
    Gallery,
    Paragraph,
    Section,
    Table,
    Tiles,
)

_WIDTHS = {"small": 320, "medium": 400, "large": 440}


def markdown(document: Document, figures: str) -> str:
    """The whole report; figures are linked as `<figures>/<name>.svg`."""
    parts = [f"# {document.title}", " · ".join(part for part in (document.subtitle, document.state) if part)]
    parts += [_section(section, figures) for section in document.sections]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(section: Section, figures: str) -> str:
    return "\n\n".join([f"## {section.title}", *(_block(block, figures) for block in section.blocks)])


def _block(block: Block, figures: str) -> str:
    if isinstance(block, Gallery):
        return _gallery(block, figures)
    if isinstance(block, Fold):
        inside = "\n\n".join(_block(inner, figures) for inner in block.blocks)
        return f"<details><summary>{_text(block.title)}</summary>\n\n{inside}\n\n</details>"
    return _WRITERS[type(block)](block)


def _paragraph(block: Paragraph) -> str:
    return f"> **Note.** {_text(block.text)}" if block.tone == "alarm" else _text(block.text)


def _tiles(block: Tiles) -> str:
    return "\n".join(f"- **{_text(value)}** {_text(what)}" for value, what in block.tiles)


def _table(block: Table) -> str:
    head = "| " + " | ".join(_text(column.title) for column in block.columns) + " |"
    rule = "|" + "|".join("--:" if column.numeric else ":--" for column in block.columns) + "|"
    rows = [*block.rows, *((block.total,) if block.total else ())]
    lines = [head, rule, *("| " + " | ".join(map(_cell, row)) + " |" for row in rows)]
    caption = f"**{_text(block.caption)}**\n\n" if block.caption else ""
    return caption + "\n".join(lines)


def _cell(cell: Cell) -> str:
    text = f"**{_text(cell.text)}**" if cell.mark in ("best", "gain", "loss") else _text(cell.text)
    text += " ◆" if cell.chosen else ""
    text += f" {_text(cell.beside)}" if cell.beside else ""
    return (f"{text}<br><sub>{_text(cell.small)}</sub>" if cell.small else text).replace("\n", " ")


def _facts(block: Facts) -> str:
    return "\n".join(f"- {_text(name)}: `{value}`" for name, value in block.facts)


def _code(block: Code) -> str:
    fence = "```"
    while fence in block.text:
        fence += "`"
    return f"{fence}{block.language}\n{block.text}\n{fence}"


def _gallery(block: Gallery, figures: str) -> str:
    width = _WIDTHS[block.size]
    images = [
        f'<img src="{figures}/{figure.name}.svg" width="{width}" alt="{_attribute(figure.alt)}">'
        for figure in block.figures
    ]
    return "\n".join(images)


def _text(text: str) -> str:
    """Literal text but for `code` and **bold**: no table breaks, no HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def _attribute(text: str) -> str:
    return _text(text).replace('"', "&quot;").replace("\n", " ")


_WRITERS: dict[type[Any], Callable[[Any], str]] = {
    Paragraph: _paragraph,
    Tiles: _tiles,
    Table: _table,
    Facts: _facts,
    Code: _code,
}
