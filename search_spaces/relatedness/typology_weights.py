"""Weights and rankings of source adapters that need no evaluation: typology (TIPA) and the adapters' own
vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jobs.errors import Fault, InputError, raise_all
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


def cosine_ranking(target: ArrayLike, sources: Mapping[str, ArrayLike]) -> tuple[tuple[str, float], ...]:
    """The sources by cosine similarity of their vectors to `target`, highest first; equal ones by code.

    A vector is a flattened adapter minus the common initialisation, all of one length; float64 arithmetic.
    Raises InputError for another length, a vector of zeros (an untrained adapter) or one with entries that
    are no finite numbers.
    """
    if not sources:
        raise InputError(Fault("there is no source vector to rank", todo="name at least one source adapter"))
    wanted = _vector(target)
    vectors = {code: _vector(vector) for code, vector in sources.items()}
    faults = [
        fault
        for code, vector in {"the target": wanted, **vectors}.items()
        if (fault := _fault(code, vector, wanted.size))
    ]
    raise_all(faults)
    length = float(np.linalg.norm(wanted))
    cosines = {code: float(vector @ wanted / (length * np.linalg.norm(vector))) for code, vector in vectors.items()}
    return tuple(sorted(cosines.items(), key=lambda item: (-round(item[1], 12), item[0])))


def _vector(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64).ravel()


def _fault(code: str, vector: NDArray[np.float64], size: int) -> Fault | None:
    """What is wrong with one vector, or None."""
    if vector.size != size:
        return Fault(f"the vector of {code} has another length than the target's", got=f"{vector.size} and {size}")
    if not np.isfinite(vector).all():
        return Fault(f"the vector of {code} has entries that are not finite", todo="train the adapter again")
    if not vector.any():
        return Fault(f"the vector of {code} is zero", todo="it equals the initialisation: train the adapter first")
    return None
