"""Names of splits with a slice behind them, as `datasets` writes them: "validation[:595]", "train[10%:]"."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import get_args

from jobs.spec import Split

SLICED = re.compile(r"^(?P<name>[\w.-]+)(\[(?P<start>(-?\d+%?)?):(?P<stop>(-?\d+%?)?)\])?$")
_SPLITS: tuple[Split, ...] = get_args(Split)


def plain_name(name: str) -> str:
    """The split that a slice is taken from."""
    return name.partition("[")[0]


def bounds(name: str) -> tuple[int, int | None] | None:
    """First row, and the row to stop before (None: the last); None for slices by percent or from the end.

    Raises ValueError for a name that is none.
    """
    start, stop = _ends(name)
    if any(not end.isdigit() for end in (start, stop) if end):
        return None
    return int(start or 0), int(stop) if stop else None


def overlapping(splits: Mapping[Split, str]) -> tuple[Split, Split] | None:
    """Two of our splits that are given the same rows of a data set, as far as their names tell; None without such.

    Raises ValueError for a name that is none.
    """
    for name in splits.values():
        _ends(name)
    given = [split for split in _SPLITS if split in splits]
    for place, one in enumerate(given):
        for other in given[place + 1 :]:
            if plain_name(splits[one]) == plain_name(splits[other]) and _meet(splits[one], splits[other]):
                return one, other
    return None


def _ends(name: str) -> tuple[str, str]:
    found = SLICED.match(name)
    if not found:
        raise ValueError(f'not a split: {name!r}; write its name, or a part of it such as "validation[:595]"')
    return found["start"] or "", found["stop"] or ""


def _meet(one: str, other: str) -> bool:
    """Whether two slices of one split share rows. Ends of unlike kinds cannot be told (rows, percent)."""
    ends = [(_end(start, -math.inf), _end(stop, math.inf)) for start, stop in (_ends(one), _ends(other))]
    units = {unit for pair in ends for unit, _ in pair if unit}
    if len(units) > 1:
        return False
    (_, first_start), (_, first_stop) = ends[0]
    (_, second_start), (_, second_stop) = ends[1]
    return max(first_start, second_start) < min(first_stop, second_stop)


def _end(text: str, default: float) -> tuple[str, float]:
    if not text:
        return "", default
    value, last = float(text.rstrip("%")), text.startswith("-")
    if text.endswith("%"):
        return "%", value + 100.0 if last else value
    return "-" if last else "+", value
