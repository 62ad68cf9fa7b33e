"""Distances of any languages to one another, from the product's sources."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jobs.errors import Fault, InputError
from search_spaces.relatedness.codes import Language, resolve_languages
from search_spaces.relatedness.distances import DistanceSource, parse_kinds
from search_spaces.relatedness.uriel_distances import RebuiltDistances


def distance_matrix(kind: str, languages: Sequence[str], source: DistanceSource | None = None) -> NDArray[np.float64]:
    """[n, n] symmetric distances of `languages` (any codes that `resolve_language` takes).

    `kind` is all that `parse_kinds` takes; several kinds are averaged. Raises InputError that lists every
    pair without data.
    """
    source = source or RebuiltDistances()
    members = resolve_languages(languages)
    kinds = parse_kinds(kind, source)
    values = np.stack([source.matrix(one, members, members) for one in kinds])
    faults = [
        Fault(
            f"{one} distance does not exist for {languages[i]} and {languages[j]}",
            where=source.name,
            todo=_why(one, members, i, j, source),
        )
        for one, table in zip(kinds, values, strict=True)
        for i, j in zip(*np.nonzero(np.isnan(table)), strict=True)
        if i < j
    ]
    if faults:
        raise InputError(*faults)
    return np.asarray(values.mean(axis=0))


def distance(kind: str, a: str, b: str, source: DistanceSource | None = None) -> float:
    """The distance of two languages; as `distance_matrix`, and raising as it does."""
    return float(distance_matrix(kind, [a, b], source)[0, 1])


def _why(kind: str, members: Sequence[Language], i: int, j: int, source: DistanceSource) -> str:
    """Which of two languages has no data: the one that has no distance even to itself."""
    pair = members[i], members[j]
    lacking = [one.iso3 for one in pair if np.isnan(source.matrix(kind, [one], [one])[0, 0])]
    return (
        f"{' and '.join(lacking)} has no {kind} data; choose another kind or leave it out"
        if lacking
        else "choose another kind"
    )
