"""Distances between languages, whatever they come from: one protocol, and the questions asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from jobs.errors import Fault, InputError
from search_spaces.relatedness.codes import resolve_languages
from search_spaces.relatedness.distance_tables import load_precomputed
from search_spaces.relatedness.uriel import KINDS
from search_spaces.relatedness.uriel_distances import RebuiltDistances
from search_spaces.relatedness.uriel_plus import UrielPlusDistances

# What `by` may say beside the name of a kind. "mixed" averages type, contact and descent, the three kinds
# that cover most languages; "all" is the plain mean of the six.
MIXTURES: dict[str, tuple[str, ...]] = {"mixed": ("syntactic", "geographic", "genetic"), "all": KINDS}


class DistanceSource(Protocol):
    """Where distances come from: features, a table, URIEL+."""

    @property
    def name(self) -> str:
        """What results state as their source: data set, version, and how it was used."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds it has, as URIEL names them."""
        ...

    def matrix(self, kind: str, rows: Sequence[str], columns: Sequence[str]) -> NDArray[np.float64]:
        """[rows, columns] distances in 0..1 of ISO 639-3 codes, 0 for a language and itself, NaN where there
        is no data.
        """
        ...

    def remarks(self, kind: str, code: str) -> tuple[str, ...]:
        """What a reader of distances of this ISO 639-3 code should know."""
        ...


def distance_source(name: str, languages: Sequence[str]) -> DistanceSource:
    """The source that a campaign or command names: `uriel` (lang2vec's features), `urielplus`, or a table's file.

    A table is read for `languages` (any codes) alone. Raises InputError for a package that is not installed, and a
    file that is missing or faulty.
    """
    if name == "uriel":
        return RebuiltDistances()
    return UrielPlusDistances() if name == "urielplus" else load_precomputed(Path(name), languages)


def parse_kinds(by: str | Sequence[str], source: DistanceSource) -> tuple[str, ...]:
    """The kinds that `by` names: "syntactic", "syntactic+genetic", "mixed", "all", or a sequence of kinds.

    Raises InputError for a kind that is unknown or that `source` lacks, and for one named twice.
    """
    names = by.split("+") if isinstance(by, str) else list(by)
    kinds = [kind for name in names for kind in MIXTURES.get(name.strip(), (name.strip(),))]
    if not kinds:
        raise InputError(
            Fault("no kind of distance is named", todo=f"choose from {', '.join((*source.kinds, *MIXTURES))}")
        )
    for kind in kinds:
        if kind not in source.kinds:
            near = get_close_matches(kind, (*source.kinds, *MIXTURES), n=1)
            todo = f"did you mean {near[0]}?" if near else f"choose from {', '.join((*source.kinds, *MIXTURES))}"
            raise InputError(Fault(f"{source.name} has no such kind of distance", got=repr(kind), todo=todo))
    if len(set(kinds)) < len(kinds):
        raise InputError(Fault("a kind of distance is named twice", got="+".join(kinds), todo="name each once"))
    return tuple(kinds)


def distance_matrix(kind: str, languages: Sequence[str], source: DistanceSource | None = None) -> NDArray[np.float64]:
    """[n, n] symmetric distances of `languages` (any codes that `resolve_language` takes).

    `kind` is all that `parse_kinds` takes; several kinds are averaged. Raises InputError that lists every
    pair without data.
    """
    source = source or RebuiltDistances()
    codes = [language.iso3 for language in resolve_languages(languages)]
    kinds = parse_kinds(kind, source)
    values = np.stack([source.matrix(one, codes, codes) for one in kinds])
    faults = [
        Fault(
            f"{one} distance does not exist for {languages[i]} and {languages[j]}",
            where=source.name,
            todo=_why(one, codes, i, j, source),
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


def _why(kind: str, codes: Sequence[str], i: int, j: int, source: DistanceSource) -> str:
    """Which of two languages has no data: the one that has no distance even to itself."""
    lacking = [code for code in (codes[i], codes[j]) if np.isnan(source.matrix(kind, [code], [code])[0, 0])]
    return (
        f"{' and '.join(lacking)} has no {kind} data; choose another kind or leave it out"
        if lacking
        else "choose another kind"
    )
