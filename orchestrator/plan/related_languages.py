"""The related languages of every target of a comparison, in one pass over the distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from jobs.errors import Fault, InputError
from orchestrator.campaign.comparisons import ComparisonSection
from search_spaces.relatedness.codes import resolve_languages
from search_spaces.relatedness.distances import DistanceSource, distance_source, parse_kinds
from search_spaces.relatedness.selection import Selection, nearest, related_by_thresholds, stated

# Two distances nearer than this may be a tie: `nearest` decides, so both stay on the short list.
ROUNDING = 1e-6
LONGEST_LIST = 200  # characters of a fault's list of languages without distance


def related_languages(section: ComparisonSection, pool: Sequence[str], faults: list[Fault]) -> dict[str, Selection]:
    """Target -> its selection, stated or as `nearest` makes it; a target without any is a fault, and left out.

    `nearest` sees a short list: the languages that may be among the nearest, ties included. So a thousand
    targets in a pool of a thousand take a second, and the notes speak of languages that matter.
    """
    asked = section.related
    chosen = {}
    try:
        everyone = (*section.targets, *pool, *chain.from_iterable(asked.of.values()))
        source = distance_source(asked.source, everyone)
    except InputError as unusable:
        faults += [replace(fault, what=f"comparison {section.name}: {fault.what}") for fault in unusable.faults]
        return {}
    for target, near in zip(section.targets, _short_lists(section, pool, source), strict=True):
        try:
            if target in asked.of:
                chosen[target] = stated(target, asked.of[target], asked.by, source)
            elif asked.within:
                others = [code for code in pool if code != target]
                bounds = asked.within.model_dump()
                chosen[target] = related_by_thresholds(target, others, **bounds, source=source)
            else:
                chosen[target] = nearest(target, near, asked.by, asked.top, source)
        except InputError as without:
            where = f"comparison {section.name}, target {target}"
            faults += [Fault(f.what, where, _short(f.got), f.todo) for f in without.faults]
    return chosen


def _short_lists(section: ComparisonSection, pool: Sequence[str], source: DistanceSource) -> list[Sequence[str]]:
    if not pool or section.related.within:
        return [pool] * len(section.targets)
    distances = _distances(section, pool, source)
    lists = []
    for row in distances:
        count = min(section.related.top, int(np.isfinite(row).sum()))
        if not count:
            lists.append(pool)  # `nearest` says which data lack
            continue
        bound = np.partition(row, count - 1)[count - 1] + ROUNDING
        lists.append([pool[place] for place in np.flatnonzero(row <= bound).tolist()])
    return lists


def _distances(section: ComparisonSection, pool: Sequence[str], source: DistanceSource) -> NDArray[np.float64]:
    """[targets, pool], infinite where there is no distance and for the target itself."""
    targets, members = resolve_languages(section.targets), resolve_languages(pool)
    rows, columns = [one.iso3 for one in targets], [one.iso3 for one in members]
    kinds = parse_kinds(section.related.by, source)
    values = np.mean([source.matrix(kind, rows, columns) for kind in kinds], axis=0)
    values[np.isnan(values)] = np.inf
    places: dict[tuple[str, ...], list[int]] = {}
    for place, member in enumerate(members):
        places.setdefault(member.key, []).append(place)
    for number, target in enumerate(targets):
        values[number, places.get(target.key, [])] = np.inf
    return np.asarray(values)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_LIST else f"{text[:LONGEST_LIST]} ..."
