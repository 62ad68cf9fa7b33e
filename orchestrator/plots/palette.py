"""Colours of all figures."""

from __future__ import annotations

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
    "own": ("#b5508c", "#e592c3"),
    "fixed": ("#7f8891", "#a3acb5"),
}
