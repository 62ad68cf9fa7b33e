"""Weights and rankings of source adapters that need no evaluation: typology (TIPA) and the adapters' own
vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.errors import Fault, InputError
from search_spaces.relatedness.distances import DistanceSource
from search_spaces.relatedness.ranking import rank


@dataclass(frozen=True, slots=True)
class TypologyWeights:
    """`weights` per language of the pool, summing to 1, nearest first; `missing` got none for want of data,
    `notes` as in a Ranking.
    """

    weights: dict[str, float]
    source: str
    missing: tuple[tuple[str, tuple[str, ...]], ...]
    notes: tuple[str, ...]


def typology_weights(
    target: str,
    pool: Sequence[str],
    by: str | Sequence[str] = "syntactic",
    source: DistanceSource | None = None,
) -> TypologyWeights:
    """w_i = (1 - d_i) / sum_j (1 - d_j): normalised similarities to the target, for A_target = sum_i w_i A_i
    (TIPA, arXiv 2601.16629).

    TIPA takes its similarities from URIEL+; here d is whatever `source` and `by` say, and the result states
    the source. Languages without a distance get no weight and are listed. Raises InputError where no language
    has one, or all are at distance 1.
    """
    ranking = rank(target, pool, by, source)
    similarity = {one.code: 1.0 - one.distance for one in ranking.related}
    total = sum(similarity.values())
    if total <= 0.0:
        got = (
            f"{len(similarity)} language(s) with a distance, all of them 1"
            if similarity
            else "no language with a distance"
        )
        raise InputError(Fault(f"no weight can be made for {target}", got=got, todo="choose another kind of distance"))
    weights = {code: value / total for code, value in similarity.items()}
    return TypologyWeights(weights, ranking.source, ranking.missing, ranking.notes)
