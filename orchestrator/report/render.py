"""A document as one self-contained HTML page, nothing loaded from elsewhere, and as Markdown with figures beside it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import partial

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from orchestrator.plots.palette import theme
from orchestrator.report.document import Document


def page(document: Document, figures: Mapping[str, str]) -> str:
    """The page; `figures`: figure name -> SVG element."""
    drawn = {name: Markup(svg) for name, svg in figures.items()}
    script = _TEMPLATES.get_template("tables.js").render()
    return _TEMPLATES.get_template("page.html.jinja").render(
        document=document,
        figures=drawn,
        theme=Markup(theme()),
        script=Markup(script),
        # The one script that a browser may run on this page.
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def markdown(document: Document, figures: str) -> str:
    """The whole report as GitHub Markdown; figures are linked as `<figures>/<name>.svg`."""
    return _TEMPLATES.get_template("report.md.jinja").render(document=document, figures=figures)


def _inline(text: str) -> Markup:
    """Escaped text with `code` and **bold**."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", marked))


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _literal(text: str) -> str:
    """Markdown that is literal but for `code` and **bold**: no table breaks, no HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def _fence(text: str) -> str:
    """Backticks that close no code block of this text."""
    return "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))


_TEMPLATES = Environment(
    loader=PackageLoader("orchestrator.report"),
    autoescape=select_autoescape(["html.jinja"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters |= {
    "anchor": _anchor,
    "fence": _fence,
    "inline": _inline,
    "kind": lambda block: type(block).__name__,
    "literal": _literal,
    "zip": partial(zip, strict=True),
}
