"""A pool of languages by their distance to a target, and weights by it (TIPA). Nothing here trains or evaluates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from jobs.errors import Fault, InputError
from search_spaces.relatedness.codes import (
    Language,
    language_warnings,
    refuse_repeats,
    resolve_language,
    resolve_languages,
)
from search_spaces.relatedness.distances import DistanceSource, parse_kinds
from search_spaces.relatedness.uriel_distances import RebuiltDistances

_TIE = 1e-9


@dataclass(frozen=True, slots=True)
class Related:
    """A language of the pool: `code` as the pool has it, its distance to the target, and the distance of each
    kind that entered it: of the kinds asked for those that both languages have.
    """

    code: str
    iso3: str
    distance: float
    by_kind: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The pool by distance to `target`, nearest first; equal distances in the order of their ISO 639-3 codes,
    then of `code`. Languages of which fewer kinds are known come after the others.

    `missing` are the pool's languages without a distance, with the kinds that lack; `ties` the groups of
    equal distance; `notes` what else a reader should know (macro-languages, scarce data). `source` says where
    the numbers come from.
    """

    target: Language
    kinds: tuple[str, ...]
    source: str
    related: tuple[Related, ...]
    missing: tuple[tuple[str, tuple[str, ...]], ...]
    ties: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def rank(
    target: str,
    pool: Sequence[str],
    by: str | Sequence[str] = "syntactic",
    source: DistanceSource | None = None,
) -> Ranking:
    """The pool's languages by distance to `target`; of several kinds (`by`, see `parse_kinds`) the mean over those
    that both languages have. Means over different kinds are never compared: see `grouped`.

    The target itself, where the pool has it, is left out with a note. Raises InputError for unknown or
    repeated codes, unknown kinds and a pool without any other language than the target.
    """
    source = source or RebuiltDistances()
    kinds = parse_kinds(by, source)
    wanted = resolve_language(target)
    members, notes = _others(wanted, pool)
    values = np.stack([source.matrix(kind, [wanted], members)[0] for kind in kinds])
    found, mean = grouped(values)
    groups, means = found.tolist(), mean.tolist()
    places = np.flatnonzero(np.isfinite(mean)).tolist()
    places.sort(key=lambda i: (groups[i], comparable(means[i]), members[i].iso3, members[i].code))
    known = [
        tuple((kind, value) for kind, value in zip(kinds, row, strict=True) if value == value)
        for row in values.T.tolist()
    ]
    related = tuple(Related(members[i].code, members[i].iso3, means[i], known[i]) for i in places)
    missing = tuple((members[i].code, kinds) for i in np.flatnonzero(np.isinf(mean)).tolist())
    remarks = (note for language in (wanted, *members) for kind in kinds for note in source.remarks(kind, language))
    notes += (*language_warnings((wanted, *members)), *dict.fromkeys(remarks))
    return Ranking(wanted, kinds, source.name, related, missing, _ties(related), notes)


def grouped(values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Of distances [kinds, ...], NaN where there is none: the group of each pair, and its mean over the kinds that it
    has (infinite without any), both [...].

    A group is one set of kinds; a lower number has more of them, of equally many those that are named first. Distances
    of different kinds are not on one scale (the mean of a geographic one, of 0.05 or so, and a syntactic one, of 0.5,
    is no nearer for lack of the latter), so that a ranking goes group by group.
    """
    lacks = np.isnan(values)
    known = len(values) - lacks.sum(axis=0)
    powers = 2 ** np.arange(len(values))[::-1].reshape(-1, *[1] * (values.ndim - 1))
    groups = lacks.sum(axis=0) * 2 ** len(values) + (lacks * powers).sum(axis=0)
    means = np.where(known, np.where(lacks, 0.0, values).sum(axis=0) / np.maximum(known, 1), np.inf)
    return np.asarray(groups), np.asarray(means)


def _others(target: Language, pool: Sequence[str]) -> tuple[list[Language], tuple[str, ...]]:
    """The pool without the target, and the note that says so."""
    refuse_repeats(pool)
    members = resolve_languages(pool)
    others = [member for member in members if member.key != target.key]
    if not others:
        got = f"{len(members)} language(s), none but the target {target.code}" if members else "no language"
        raise InputError(Fault("the pool of related languages is empty", got=got, todo="add languages to the pool"))
    left_out = [member.code for member in members if member.key == target.key]
    return others, tuple(f"{code} is the target itself: left out of the pool" for code in left_out)


def comparable(value: float) -> int:
    """For comparing distances: two that differ by rounding error alone are equal."""
    return round(value / _TIE)


def _ties(related: Sequence[Related]) -> tuple[tuple[str, ...], ...]:
    equal = groupby(related, key=lambda one: (comparable(one.distance), [kind for kind, _ in one.by_kind]))
    groups = [tuple(one.code for one in group) for _, group in equal]
    return tuple(group for group in groups if len(group) > 1)


def typology_weights(target: str, pool: Sequence[str], by: str | Sequence[str]) -> dict[str, float]:
    """w_i = (1 - d_i) / sum_j (1 - d_j): each language's share of the similarity to the target, nearest first.

    The plain way to normalise the similarities of TIPA, whose own code takes a softmax instead: see `tipa_weights`.
    Languages without a distance get no weight. Raises InputError where no language has one, or all are at distance 1.
    """
    similarity = {one.code: 1.0 - one.distance for one in rank(target, pool, by).related}
    total = sum(similarity.values())
    if total <= 0.0:
        all_far = f"{len(similarity)} language(s) with a distance, all of them 1"
        got = all_far if similarity else "no language with a distance"
        raise InputError(Fault(f"no weight can be made for {target}", got=got, todo="choose another kind of distance"))
    return {code: value / total for code, value in similarity.items()}


def tipa_weights(distances: Mapping[str, float]) -> dict[str, float]:
    """Weights for A_target = sum_i w_i A_i, typologically informed parameter aggregation (TIPA; Accou and Poelman,
    arXiv 2601.16629): w_i = exp(s_i) / sum_j exp(s_j) of the similarities s_i = 1 - d_i, d_i in 0..1.

    As in the authors' code (`typological_approximation` of github.com/stefaccou/TIPA) there is no temperature, and a
    language without a distance (nan) has similarity 0; so the largest weight is at most e times the least. Weights
    are rounded to six decimals, so that they are the same on every machine; the largest one takes what is left to 1.
    """
    shares = {code: 0.0 if math.isnan(value) else 1.0 - value for code, value in distances.items()}
    total = math.fsum(math.exp(share) for share in shares.values())
    weights = {code: round(math.exp(share) / total, 6) for code, share in shares.items()}
    if weights:
        largest = max(weights, key=lambda code: weights[code])
        weights[largest] = round(1.0 - math.fsum(v for code, v in weights.items() if code != largest), 6)
    return weights
