"""Distances between languages, whatever they come from: one protocol, and the questions asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from jobs.errors import Fault, InputError
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
