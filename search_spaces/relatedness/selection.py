"""Which languages of a pool are related to a target: the selections of the papers.

Nothing here trains or evaluates. Every result states its source, the languages without data, ties and
fallbacks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.errors import Fault, InputError
from search_spaces.relatedness.codes import resolve_languages
from search_spaces.relatedness.distances import DistanceSource
from search_spaces.relatedness.ranking import Ranking, Related, comparable, rank


@dataclass(frozen=True, slots=True)
class Selection:
    """The related languages chosen for a target, nearest first, and the rule in words; `fallback` says why it
    was not the rule asked for. `by`: the distance that was taken, as a campaign names it.
    """

    target: str
    chosen: tuple[Related, ...]
    rule: str
    fallback: str
    source: str
    missing: tuple[tuple[str, tuple[str, ...]], ...]
    notes: tuple[str, ...]
    by: str = ""


def stated(
    target: str, chosen: Sequence[str], by: str | Sequence[str] = "syntactic", source: DistanceSource | None = None
) -> Selection:
    """The languages that someone chose for the target, in their order; a distance is told where there is one, else nan.

    Raises InputError for unknown and repeated codes, and where the target is chosen for itself.
    """
    ranking = rank(target, chosen, by, source)
    if len(ranking.related) + len(ranking.missing) < len(chosen):
        raise InputError(Fault("a language is not related to itself", got=target, todo="choose another"))
    known = {one.code: one for one in ranking.related}
    languages = resolve_languages(chosen)
    related = tuple(known.get(one.code, Related(one.code, one.iso3, math.nan, ())) for one in languages)
    return Selection(target, related, "stated in the campaign", "", ranking.source, ranking.missing, ranking.notes)


def nearest(
    target: str,
    pool: Sequence[str],
    by: str | Sequence[str] = "syntactic",
    top: int = 1,
    source: DistanceSource | None = None,
) -> Selection:
    """The `top` nearest languages of the pool (language arithmetic takes one: arXiv 2404.15737, Table 2).

    A note says which of them are compared by fewer kinds than `by` names, because one of the two has no more. Raises
    InputError where no language of the pool has a distance to the target; the fault lists what lacks.
    """
    if top < 1:
        raise InputError(Fault("the number of related languages is less than 1", got=str(top)))
    ranking = rank(target, pool, by, source)
    if not ranking.related:
        raise InputError(_without_distance(ranking))
    tied = [group for group in ranking.ties if ranking.related[min(top, len(ranking.related)) - 1].code in group]
    notes = ranking.notes + tuple(f"equally near: {', '.join(group)}" for group in tied)
    notes += tuple(_fewer_kinds(ranking, ranking.related[:top]))
    rule = (
        f"the {top} nearest by {'+'.join(ranking.kinds)} distance"
        if top > 1
        else f"the nearest by {'+'.join(ranking.kinds)} distance"
    )
    return Selection(target, ranking.related[:top], rule, "", ranking.source, ranking.missing, notes)


def related_by_thresholds(
    target: str,
    pool: Sequence[str],
    *,
    syntactic: float = 0.7,
    geographic: float = 0.3,
    decimals: tuple[int, int] | None = (2, 1),
    source: DistanceSource | None = None,
) -> Selection:
    """All languages with a syntactic distance < `syntactic` and a geographic distance < `geographic` (arXiv
    2311.09344, Table 5).

    Both bounds are strict. `decimals` are those of the two distances before they are compared: lang2vec
    stores syntactic distances with two and geographic ones with one, and the set that the paper shows in a
    figure (Bengali and Telugu for Sinhala) comes out only so; None compares unrounded ones. Where no language
    qualifies, the nearest by syntactic distance is taken and `fallback` says so.
    """
    ranking = rank(target, pool, ("syntactic", "geographic"), source)
    complete = [one for one in ranking.related if len(one.by_kind) == 2]
    numbers = np.array([[value for _, value in one.by_kind] for one in complete]).reshape(-1, 2)
    places = decimals or (None, None)
    within = (as_stored(numbers[:, 0], places[0]) < syntactic) & (as_stored(numbers[:, 1], places[1]) < geographic)
    found = [one for one, is_within in zip(complete, within.tolist(), strict=True) if is_within]
    chosen = tuple(sorted(found, key=lambda one: (comparable(one.by_kind[0][1]), one.iso3, one.code)))
    rounding = "" if decimals is None else f", rounded to {decimals[0]} and {decimals[1]} decimals"
    rule = f"syntactic < {syntactic:g} and geographic < {geographic:g}{rounding}"
    if chosen:
        return Selection(target, chosen, rule, "", ranking.source, ranking.missing, ranking.notes)
    one = nearest(target, pool, "syntactic", 1, source)
    fallback = f"no language of the pool has {rule}: {one.rule} is taken"
    return Selection(target, one.chosen, one.rule, fallback, one.source, one.missing, one.notes)


def as_stored(values: NDArray[np.float64], decimals: int | None) -> NDArray[np.float64]:
    """`values` as lang2vec's table has them: rounded to four decimals, then to `decimals`, halves to even; None
    leaves them.
    """
    return values if decimals is None else np.round(np.round(values, 4), decimals)


def _fewer_kinds(ranking: Ranking, chosen: Sequence[Related]) -> Iterator[str]:
    """A sentence for each set of kinds that some of the chosen are compared by for want of others."""
    short: dict[tuple[str, ...], list[str]] = {}
    for one in chosen:
        if len(one.by_kind) < len(ranking.kinds):
            short.setdefault(tuple(kind for kind, _ in one.by_kind), []).append(one.code)
    for used, codes in short.items():
        lacking = [kind for kind in ranking.kinds if kind not in used]
        told = f"{ranking.target.code} and {', '.join(codes)}: compared by {'+'.join(used)}"
        yield f"{told}, as there are no {' and no '.join(lacking)} data of one of the two"


def _without_distance(ranking: Ranking) -> Fault:
    lacking = "; ".join(f"{ranking.target.code} and {code}: no {', '.join(kinds)}" for code, kinds in ranking.missing)
    return Fault(
        f"{ranking.target.code} has no {'+'.join(ranking.kinds)} distance to any language of the pool",
        where=ranking.source,
        got=lacking,
        todo="choose another kind of distance or another pool",
    )
