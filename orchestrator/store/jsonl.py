"""JSON lines with a checksum at their end: one that a kill tore, or of which a byte has changed, is not there."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

_SEAL = ', "crc": '


def dump_line(line: Mapping[str, Any]) -> str:
    """The JSON object, not an empty one, with the CRC-32 of its text as its last key; no line end."""
    text = json.dumps(line)
    return f"{text[:-1]}{_SEAL}{zlib.crc32(text.encode())}}}"


def parse_line(text: str) -> dict[str, Any] | None:
    """The object of a line that `dump_line` made, as it was; None for any other text."""
    body, seal, number = text.rpartition(_SEAL)
    whole = f"{body}}}"
    if not seal or number != f"{zlib.crc32(whole.encode())}}}":
        return None
    found: dict[str, Any] = json.loads(whole)
    return found
