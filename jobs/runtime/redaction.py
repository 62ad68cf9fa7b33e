"""Secrets in texts: found by their form, and replaced before a text is kept or shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from jobs.errors import Fault


def secrets_in(text: str, where: str) -> Iterator[Fault]:
    """One fault for each kind of secret found, with its line and never the secret itself.

    For what leaves this machine as a file that others read: a harmless word after `password=` is refused too, a place
    left for a secret (`${TOKEN}`, `<token>`) is not.
    """
    for kind, pattern in PATTERNS.items():
        found = next((one for one in pattern.finditer(text) if not _PLACEHOLDER.match(_secret(one))), None)
        if found:
            line = text.count("\n", 0, found.start()) + 1
            todo = "keep it in a Secret and refer to that by name"
            yield Fault(f"{kind} would be written where others read it", f"{where}:{line}", todo=todo)


HIDDEN = "[hidden]"
# What a secret looks like. Anchored and bounded: a text of a million characters is read once. Where there is a group
# `secret`, it alone is replaced.
PATTERNS = {
    "a password in an address": re.compile(r"://(?P<secret>[^\s/:@'\"]{0,256}:[^\s/@'\"]{1,256})@"),
    "a password before a host": re.compile(
        r"(?<![\w./:@-])(?!mailto:)[\w.-]{1,64}:(?P<secret>[^\s/:@'\"]{4,256})@(?!sha256:)[\w-]{1,63}\."
    ),
    "a hub token": re.compile(r"\bhf_[A-Za-z0-9]{20,}"),
    "an access key": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a private key": re.compile(
        r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:[A-Za-z0-9+/=\s\\]{0,20000}-----END [A-Z ]{0,40}PRIVATE KEY-----)?"
    ),
    "a token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|glpat-[\w-]{20,}|xox[abprs]-[\w-]{10,})"),
    "a named secret": re.compile(
        r"(?i)(?:password|passwd|secret|token(?!s|iz|_type)|api[_-]?key|access[_-]?key|credentials?)[\w.-]{0,64}"
        r"[\"']?\s{0,4}[=:]\s{0,4}[\"']?(?P<secret>(?:bearer\s+)?[^\s\"'&,;]{6,512})"
    ),
    "an authorization": re.compile(
        r"(?i)\bauthorization[\"']?\s{0,4}[=:]\s{0,4}[\"']?(?P<secret>\w+\s+[^\s\"']{6,512})"
    ),
}
# Too easily a harmless word to refuse a file for it; hidden in what is kept all the same.
ONLY_HIDDEN = ("a named secret", "an authorization", "a password before a host")
_PLACEHOLDER = re.compile(r"[$<{\[*.]|%\(")


def kinds_of_secrets(text: str) -> list[str]:
    """The kinds of secrets that stand in a text beyond doubt; a harmless word is none."""
    return [kind for kind, pattern in PATTERNS.items() if kind not in ONLY_HIDDEN and pattern.search(text)]


def redacted(text: str) -> str:
    """`text` with every secret replaced by `[hidden]`; a text without any is returned as it is."""
    for pattern in PATTERNS.values():
        text = pattern.sub(_hide, text)
    return text


def redacted_words(words: Sequence[str]) -> list[str]:
    """A command line: also the word after an option that is named like a secret, such as `--token X`."""
    safe: list[str] = []
    for word in words:
        named = safe and safe[-1].startswith("-") and "=" not in safe[-1] and _NAMED.search(safe[-1])
        safe.append(HIDDEN if named else redacted(word))
    return safe


_NAMED = re.compile(r"(?i)password|passwd|secret|token(?!s|iz|_type)|api[_-]?key|access[_-]?key|credential")


def _secret(found: re.Match[str]) -> str:
    return found["secret"] if "secret" in found.re.groupindex else found[0]


def _hide(found: re.Match[str]) -> str:
    if "secret" not in found.re.groupindex:
        return HIDDEN
    start, end = (place - found.start() for place in found.span("secret"))
    return found[0][:start] + HIDDEN + found[0][end:]
