"""Numbers and names as a person reads them; open to every room."""

from __future__ import annotations


def short(key: str) -> str:
    """`language-adapter gl-s42` for `language-adapter/gl-s42-8c2f3a1b90de`."""
    return key.rsplit("-", 1)[0].replace("/", " ")


def duration(seconds: float) -> str:
    """`42 s`, `7 min`, `3.5 h`, `12 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
