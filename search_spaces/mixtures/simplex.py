"""Weights that are not negative and sum to one: their grid, and the grid point nearest to any other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import comb, isclose


def parts_of(step: float) -> int:
    """How many times `step` fits into one. Raises ValueError when it does not fit: no sum of such weights is one."""
    parts = round(1 / step) if step > 0 else 0
    if not parts or not isclose(parts * step, 1.0, rel_tol=1e-9):
        raise ValueError(f"a step that does not divide 1 reaches no point of the simplex: {step:g}")
    return parts


def compositions(total: int, places: int, least: int = 0) -> Iterator[tuple[int, ...]]:
    """All tuples of `places` integers of at least `least` that sum to `total`, the first place falling."""
    if places == 1:
        if total >= least:
            yield (total,)
        return
    for first in range(total - least * (places - 1), least - 1, -1):
        for rest in compositions(total - first, places - 1, least):
            yield (first, *rest)


def composition_count(total: int, places: int, least: int = 0) -> int:
    """How many tuples `compositions` yields."""
    free = total - least * places
    return comb(free + places - 1, places - 1) if free >= 0 else 0


def rounded(shares: Sequence[float], parts: int, least: int = 0) -> tuple[int, ...]:
    """Integers of at least `least` that sum to `parts`, nearest to `shares`, which sum to one.

    Whole parts first, then one more for the largest remainders; ties go to the earlier place. Needs
    `parts >= least * len(shares)`.
    """
    wanted = [share * parts for share in shares]
    counts = [max(least, int(value + 1e-9)) for value in wanted]
    while sum(counts) < parts:
        place = max(range(len(counts)), key=lambda i: (round(wanted[i] - counts[i], 9), -i))
        counts[place] += 1
    while sum(counts) > parts:
        place = max(
            (i for i in range(len(counts)) if counts[i] > least), key=lambda i: (round(counts[i] - wanted[i], 9), i)
        )
        counts[place] -= 1
    return tuple(counts)


def normalised(values: Sequence[float]) -> tuple[float, ...]:
    """`values`, not negative, divided by their sum; equal shares when all are zero."""
    total = sum(values)
    return tuple(value / total for value in values) if total > 0 else (1.0 / len(values),) * len(values)
