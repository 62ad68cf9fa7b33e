"""How near languages are by their texts: the pieces and the character sequences that they have in common.

Nothing here reads or cuts a text: whoever has texts counts their pieces (`jobs/tokens/text_units.py`), and what is
compared here is how often each occurs. No labels, no model beyond its tokenizer, no database of languages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from search_spaces.relatedness.codes import Language

# Kind -> what is counted. A text of fewer units than `SHORTEST` ranks by chance (docs/search.md).
TEXT_KINDS = {"overlap": "subword pieces", "characters": "character trigrams"}
SHORTEST = {"overlap": 200, "characters": 300}


def shared_mass(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """1 - D(p, q), the Jensen-Shannon divergence in bits of two distributions [units]: 1 for equal ones, 0 for those
    that share no unit.

    The overlap of vocabularies of Limisiewicz et al. (arXiv 2305.17179) is D over the tokens of two
    corpora: D = H((p + q) / 2) - (H(p) + H(q)) / 2. A unit that one side lacks adds half its share to D, so that 1 - D
    is a sum over shared units alone: of (p log(1 + q / p) + q log(1 + p / q)) / 2. Unlike a share of types it hardly
    grows with the length of a text.
    """
    shared = (one > 0) & (other > 0)
    p, q = one[shared], other[shared]
    return float(np.sum(p * np.log2(1 + q / p) + q * np.log2(1 + p / q)) / 2)


@dataclass(frozen=True)
class TextDistances:
    """A `DistanceSource` on counts: `counts[kind][code]` how often each unit occurs in the texts of a language, by its
    code as it was written. The distance is 1 - `shared_mass`. `short[kind][code]` says why a language has no counts.
    """

    name: str
    counts: Mapping[str, Mapping[str, Mapping[str, int]]]
    short: Mapping[str, Mapping[str, str]]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that were counted."""
        return tuple(self.counts)

    def matrix(self, kind: str, rows: Sequence[Language], columns: Sequence[Language]) -> NDArray[np.float64]:
        """[rows, columns] distances, NaN for a language without counts and a pair that has no unit in common."""
        return np.array([[self._distance(kind, a.code, b.code) for b in columns] for a in rows], dtype=np.float64)

    def remarks(self, kind: str, language: Language) -> tuple[str, ...]:
        """Why a language has no counts."""
        said = self.short.get(kind, {}).get(language.code)
        return (said,) if said else ()

    def _distance(self, kind: str, one: str, other: str) -> float:
        if one not in self.counts[kind] or other not in self.counts[kind]:
            return float("nan")
        if one == other:
            return 0.0
        (ids, shares), (places, others) = self._distributions[kind][one], self._distributions[kind][other]
        _, left, right = np.intersect1d(ids, places, assume_unique=True, return_indices=True)
        return 1.0 - shared_mass(shares[left], others[right]) if left.size else float("nan")

    @cached_property
    def _distributions(self) -> dict[str, dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]]:
        """By kind and code: numbers of the units that occur, and the share of each."""
        found: dict[str, dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]] = {}
        for kind, languages in self.counts.items():
            numbers: dict[str, int] = {}
            for code, counts in languages.items():
                ids = np.array([numbers.setdefault(unit, len(numbers)) for unit in counts], dtype=np.int64)
                values = np.array(list(counts.values()), dtype=np.float64)
                found.setdefault(kind, {})[code] = ids, values / values.sum()
        return found


def too_short(kind: str, counts: Mapping[str, int]) -> str:
    """What a text of fewer units than its kind needs lacks, in words; "" for one that has enough."""
    found, needed = sum(counts.values()), SHORTEST[kind]
    if found >= needed:
        return ""
    times = f", {needed / found:.0f} times as much text or more" if found else ""
    return f"the text has {found} {TEXT_KINDS[kind]}, and a comparison needs {needed}{times}"
