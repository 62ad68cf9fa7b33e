"""URIEL's six distances, rebuilt from its features by the definitions that reproduce the published values.

* syntactic, inventory, phonological, featural: (2 / pi) * arccos of the cosine between the binary feature
  vectors, unknown counting as absent. (lang2vec's page says cosine; the published numbers are angular.)
* geographic: great-circle angle / pi, so 1 is the antipode.
* genetic: 1 - common ancestor nodes / (ancestor nodes of the language that URIEL lists first + 1). URIEL's
  list of distance languages is not in the PyPI package; the order of its family file stands in for it.

All are 0 for a language and itself. A language without a single known feature has no distance: the entry is
NaN, never a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from search_spaces.relatedness.codes import Language
from search_spaces.relatedness.uriel import (
    KINDS,
    TYPOLOGICAL_KINDS,
    Features,
    known_features,
    load_features,
    record_code,
    source_name,
)

# Below this share of known features a distance says more of the data than of the languages; rankings say so.
SCARCE = 0.25


class RebuiltDistances:
    """A `DistanceSource` on lang2vec's feature data."""

    kinds = KINDS

    @property
    def name(self) -> str:
        """Names package and version."""
        return source_name()

    def matrix(self, kind: str, rows: Sequence[Language], columns: Sequence[Language]) -> NDArray[np.float64]:
        """[rows, columns] distances; NaN where either has no data. Memory: 8 bytes an
        entry and a few copies.
        """
        table = load_features(kind)
        codes = [np.array([one.iso3 for one in languages], dtype=object) for languages in (rows, columns)]
        left, right = (np.array([_row(kind, code) for code in some], dtype=np.int64) for some in codes)
        formula = {"geographic": _geographic, "genetic": _genetic}.get(kind, _angular)
        values = formula(table, left.clip(min=0), right.clip(min=0))
        values[codes[0][:, None] == codes[1][None, :]] = 0.0
        values[left < 0, :] = np.nan
        values[:, right < 0] = np.nan
        return values

    def remarks(self, kind: str, language: Language) -> tuple[str, ...]:
        """What a reader of distances of `language` should know: under which code URIEL files it, and whether
        little is known.
        """
        return _remarks(kind, language.iso3)


@lru_cache(maxsize=65536)
def _remarks(kind: str, code: str) -> tuple[str, ...]:
    record = record_code(kind, code)
    said = [f"{code}: {kind} data are those URIEL files under {record}"] if record != code else []
    known, of = known_features(kind, record), load_features(kind).columns
    if kind in TYPOLOGICAL_KINDS and 0 < known < SCARCE * of:
        said.append(f"{code}: only {known} of {of} {kind} features are known, the others count as absent")
    return tuple(said)


@lru_cache(maxsize=65536)
def _row(kind: str, iso3: str) -> int:
    """The row that holds the data of `iso3`, -1 where there are none."""
    table = load_features(kind)
    row = table.rows.get(record_code(kind, iso3), -1)
    return row if row >= 0 and table.known[row] else -1


def _angular(table: Features, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
    u, v = table.values[left].astype(np.float64), table.values[right].astype(np.float64)
    # Counts are exact in float64, so equal languages get bit-equal distances, and ties are ties.
    squared = u.sum(axis=1)[:, None] * v.sum(axis=1)[None, :]
    cosine = (u @ v.T) / np.sqrt(np.maximum(squared, 1.0))
    return np.asarray(np.arccos(np.clip(cosine, -1.0, 1.0)) * (2.0 / np.pi))


def _geographic(table: Features, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
    u, v = table.values[left].astype(np.float64), table.values[right].astype(np.float64)
    # Three products in a fixed order: a matrix product rounds by its shape, and a distance must not depend on
    # the pool.
    cosine = sum(u[:, None, axis] * v[None, :, axis] for axis in range(3))
    return np.asarray(np.arccos(np.clip(cosine, -1.0, 1.0)) / np.pi)


def _genetic(table: Features, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
    u, v = (np.unpackbits(table.values[rows].astype(np.uint8), axis=1).astype(np.float32) for rows in (left, right))
    listed_first = left[:, None] <= right[None, :]
    ancestors = np.where(listed_first, u.sum(axis=1)[:, None], v.sum(axis=1)[None, :]).astype(np.float64)
    return np.asarray(1.0 - (u @ v.T).astype(np.float64) / (ancestors + 1.0))
