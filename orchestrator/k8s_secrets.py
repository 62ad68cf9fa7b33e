"""Refuses texts that would carry a secret into a manifest, where everybody who may read the namespace sees it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from jobs.errors import Fault

PATTERNS = {
    # Anchored and bounded: a text of a million characters is read once.
    "a password in an address": re.compile(r"://[^\s/:@'\"]{0,256}:[^\s/@'\"]{1,256}@"),
    "a hub token": re.compile(r"\bhf_[A-Za-z0-9]{20,}"),
    "an access key": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|glpat-[\w-]{20,}|xox[abprs]-[\w-]{10,})"),
}


def secrets_in(text: str, where: str) -> Iterator[Fault]:
    """One fault for each kind of secret found, with its line and never the secret itself."""
    for kind, pattern in PATTERNS.items():
        found = pattern.search(text)
        if found:
            line = text.count("\n", 0, found.start()) + 1
            todo = "keep it in a Secret and refer to that by name"
            yield Fault(f"{kind} would be written into the manifests", f"{where}:{line}", todo=todo)
