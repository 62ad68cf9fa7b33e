"""Distances between languages, whatever they come from: one protocol, and the questions asked of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from jobs.errors import Fault, raise_all
from search_spaces.relatedness.codes import Language
from search_spaces.relatedness.distance_tables import TABLE_KINDS, load_precomputed
from search_spaces.relatedness.model_distances import MODEL_KINDS
from search_spaces.relatedness.uriel import KINDS
from search_spaces.relatedness.uriel_distances import RebuiltDistances
from search_spaces.relatedness.uriel_plus import UrielPlusDistances

# What `by` may say beside the name of a kind. "mixed" averages type, contact and descent, the three kinds
# that cover most languages; "all" is the plain mean of the six. Of each, the kinds that a source has.
MIXTURES: dict[str, tuple[str, ...]] = {"mixed": ("syntactic", "geographic", "genetic"), "all": KINDS}
_MEASURE = "measure it with `adapterfleet languages related --out TABLE`, and give the table as `source`"


class DistanceSource(Protocol):
    """Where distances come from: features, a table, URIEL+, texts."""

    @property
    def name(self) -> str:
        """What results state as their source: data set, version, and how it was used."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds it has, as URIEL names them."""
        ...

    def matrix(self, kind: str, rows: Sequence[Language], columns: Sequence[Language]) -> NDArray[np.float64]:
        """[rows, columns] distances in 0..1, 0 for a language and itself, NaN where there is no data."""
        ...

    def remarks(self, kind: str, language: Language) -> tuple[str, ...]:
        """What a reader of distances of this language should know."""
        ...


def distance_source(name: str, languages: Sequence[str]) -> DistanceSource:
    """The source that a campaign or command names: `uriel` (lang2vec's features), `urielplus`, or a table's file.

    A table is read for `languages` (any codes) alone. Raises InputError for a package that is not installed, and a
    file that is missing or faulty.
    """
    if name == "uriel":
        return RebuiltDistances()
    return UrielPlusDistances() if name == "urielplus" else load_precomputed(Path(name).expanduser(), languages)


def parse_kinds(by: str | Sequence[str], source: DistanceSource) -> tuple[str, ...]:
    """The kinds that `by` names: "syntactic", "syntactic+genetic", "mixed", "all", or a sequence of kinds.

    Raises InputError with every kind that is unknown or that `source` lacks, and for one named twice. Of "mixed" and
    "all" those are left out that the source lacks, unless it lacks them all.
    """
    kinds = [kind for name in _names(by) for kind in _meant(name, source.kinds)]
    raise_all(_naming_faults(kinds, source.kinds, f"{source.name} has no such kind of distance"))
    return tuple(kinds)


def kind_faults(by: str, measured: Sequence[str] = ()) -> tuple[Fault, ...]:
    """What is wrong with `by` whatever the source of distances. `measured`: kinds that come from texts or models, of
    which a sum has either all or none.
    """
    names = _names(by)
    faults = tuple(_naming_faults(names, (*TABLE_KINDS, *MIXTURES, *measured), "unknown kind of distance"))
    if not faults and len({name in measured for name in names}) > 1:
        todo = "leave one out, or give a list: the next one is taken where the first is not known"
        faults = (Fault("a sum of distances of languages and of texts", got=by, todo=todo),)
    return faults


def _names(by: str | Sequence[str]) -> list[str]:
    return [name.strip() for name in (by.split("+") if isinstance(by, str) else by)]


def _meant(name: str, known: Sequence[str]) -> tuple[str, ...]:
    """One kind, or those of a mixture that are `known`."""
    kinds = MIXTURES.get(name, (name,))
    return tuple(kind for kind in kinds if kind in known) or kinds


def _naming_faults(kinds: Sequence[str], known: Sequence[str], unknown: str) -> Iterator[Fault]:
    choices = tuple(dict.fromkeys((*known, *MIXTURES)))
    if not any(kinds):
        yield Fault("no kind of distance is named", todo=f"choose from {', '.join(choices)}")
        return
    for kind in kinds:
        if kind not in known:
            near = get_close_matches(kind, choices, n=1)
            todo = f"did you mean {near[0]}?" if near else f"choose from {', '.join(choices)}"
            yield Fault(unknown, got=repr(kind), todo=_MEASURE if kind in MODEL_KINDS else todo)
    spelled = [one for kind in kinds for one in MIXTURES.get(kind, (kind,))]
    if len(set(spelled)) < len(spelled):
        yield Fault("a kind of distance is named twice", got="+".join(kinds), todo="name each once")
