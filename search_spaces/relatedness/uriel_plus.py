"""URIEL+ (package `urielplus`, optional) as a source of distances: more data, other definitions, other values
than URIEL's.

Its distances are angular over the features *both* languages have, and its geographic distance is no great
circle, so thresholds made for URIEL do not carry over. It is licensed CC BY-SA 4.0 and writes into its own
installation on first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.errors import Fault, InputError
from search_spaces.relatedness.codes import Language
from search_spaces.relatedness.uriel import NAMED_KINDS


class UrielPlusDistances:
    """A `DistanceSource` on an installed `urielplus`; it computes pair by pair, so a pool of hundreds takes
    minutes.
    """

    kinds = NAMED_KINDS

    def __init__(self) -> None:
        """Loads the database. Raises InputError where the package is not installed."""
        if find_spec("urielplus") is None:
            todo = "install the package urielplus, or use lang2vec's features"
            raise InputError(Fault("URIEL+ is asked for and not installed", todo=todo))
        self._database: Any = import_module("urielplus.urielplus").URIELPlus()
        self._pairs: dict[tuple[str, str, str], float] = {}
        self.name = f"urielplus {version('urielplus')}"

    def matrix(self, kind: str, rows: Sequence[Language], columns: Sequence[Language]) -> NDArray[np.float64]:
        """[rows, columns] distances, NaN where two languages share no known feature."""
        return np.array([[self._pair(kind, a.iso3, b.iso3) for b in columns] for a in rows], dtype=np.float64)

    def remarks(self, kind: str, language: Language) -> tuple[str, ...]:
        """Nothing beyond the source's name."""
        return ()

    def _pair(self, kind: str, a: str, b: str) -> float:
        key = (kind, min(a, b), max(a, b))
        if key not in self._pairs:
            self._pairs[key] = 0.0 if a == b else self._ask(*key)
        return self._pairs[key]

    def _ask(self, kind: str, a: str, b: str) -> float:
        """One pair. The package answers "no shared feature" and "unknown language" with ValueError or, in
        older releases, SystemExit.
        """
        try:
            value = float(self._database.new_distance(kind, [a, b]))
        except (ValueError, SystemExit):
            return float("nan")
        return value if value >= 0.0 else float("nan")
