"""Names that Kubernetes takes: shortened so that a person sees it, and never two alike."""

from __future__ import annotations

import hashlib
import re

RAYJOB_LIMIT = 47  # KubeRay appends a suffix of its own to the cluster and to its pods
LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
MADE = re.compile(r".*-x-[0-9a-f]{12}")


def kubernetes_name(text: str, limit: int = RAYJOB_LIMIT) -> str:
    """A DNS-1035 label of at most `limit` characters (17 or more) for any text.

    A text that is such a label stays as it is. Any other becomes `<what is left of it>-x-<12 hex digits>`, the digits
    being the beginning of the sha256 of the whole text. A text that already looks like one of those is treated in the
    same way, so no text that stays can meet one that was changed; two changed ones differ in the hash.
    """
    if len(text) <= limit and LABEL.fullmatch(text) and not is_made(text, limit):
        return text
    mark = "-x-" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not plain[:1].isalpha():
        plain = f"c-{plain}".rstrip("-")
    return plain[: limit - len(mark)].rstrip("-") + mark


def is_made(name: str, limit: int = RAYJOB_LIMIT) -> bool:
    """Whether `name` has the form of a name that `kubernetes_name` has changed."""
    return len(name) <= limit and bool(LABEL.fullmatch(name)) and bool(MADE.fullmatch(name))
