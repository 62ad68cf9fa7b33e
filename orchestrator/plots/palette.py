"""Colours of all figures, and SVGs that follow the reader's light or dark mode with them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

# Name -> colour on a light page, colour on a dark page. The hues are those of Okabe and Ito's palette, which
# stay apart for colour-blind readers; some are darkened or lightened for contrast.
COLOURS: dict[str, tuple[str, str]] = {
    "ink": ("#1c2127", "#e8eaed"),
    "muted": ("#626b75", "#9aa3ad"),
    "grid": ("#e4e7eb", "#2c3138"),
    "paper": ("#fefefe", "#15181c"),
    "arithmetic": ("#d55e00", "#f4863c"),
    "proxy-1": ("#0072b2", "#57aaec"),
    "proxy-2": ("#009e73", "#2fc79d"),
    "proxy-3": ("#b8860b", "#e0b040"),
    "proxy-4": ("#56b4e9", "#9ad4f5"),
    "pair-1": ("#a85a1a", "#d59a5f"),
    "pair-2": ("#8a6d00", "#cdb04c"),
    "pair-3": ("#6b7a1f", "#a9bb55"),
    "pair-4": ("#7d5a8c", "#b995c9"),
    "own": ("#b5508c", "#e592c3"),
    "fixed": ("#7f8891", "#a3acb5"),
    "bare": ("#8a6d5a", "#c2a591"),
    "judged": ("#4f6d8f", "#93b0d1"),
    "single": ("#9c4a4a", "#d99a9a"),
}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_SVG = "http://www.w3.org/2000/svg"
_VARIABLES = {light: f"var(--{name}, {light})" for name, (light, _) in COLOURS.items()}
ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")


def theme() -> str:
    """The colours as CSS variables, for light and for dark."""
    light = "".join(f"--{name}:{colours[0]};" for name, colours in COLOURS.items())
    dark = "".join(f"--{name}:{colours[1]};" for name, colours in COLOURS.items())
    return f":root{{{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"


def themed(svg: str) -> str:
    """Matplotlib's SVG with the colours by name, the reader's own sans-serif, and only ids that are referred to."""
    root = ElementTree.fromstring(svg)
    style = ElementTree.Element(f"{{{_SVG}}}style")
    style.text, root[0] = theme(), style  # in place of matplotlib's own
    used = {
        name for element in root.iter() for value in element.attrib.values() for name in re.findall(r"#(\w+)", value)
    }
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
        if declared := element.get("style"):
            parts = (part.split(": ", 1) for part in declared.split("; ") if not part.startswith("font-family:"))
            element.set("style", "; ".join(f"{name}: {_VARIABLES.get(value, value)}" for name, value in parts))
    root.attrib |= {"font-family": FONT, "stroke-linejoin": "round"}
    return ElementTree.tostring(root, encoding="unicode")


def inline(svg: str) -> str:
    """A themed SVG for a page, which has the theme already."""
    root = ElementTree.fromstring(svg)
    root.remove(root[0])
    return ElementTree.tostring(root, encoding="unicode")
