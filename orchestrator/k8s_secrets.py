"""Refuses texts that would carry a secret into a manifest, where everybody who may read the namespace sees it."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.errors import Fault
from jobs.redaction import ONLY_HIDDEN, PATTERNS


def secrets_in(text: str, where: str) -> Iterator[Fault]:
    """One fault for each kind of secret found, with its line and never the secret itself."""
    for kind, pattern in PATTERNS.items():
        found = pattern.search(text)
        if found and kind not in ONLY_HIDDEN:
            line = text.count("\n", 0, found.start()) + 1
            todo = "keep it in a Secret and refer to that by name"
            yield Fault(f"{kind} would be written into the manifests", f"{where}:{line}", todo=todo)
