"""The related languages of every target of a comparison, in one pass over the distances of each kind that is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from jobs.errors import Fault, InputError
from orchestrator.campaign.comparisons import ComparisonSection
from orchestrator.plan.text_source import Texts
from search_spaces.relatedness.codes import Language, resolve_languages
from search_spaces.relatedness.distances import MIXTURES, DistanceSource, distance_source, parse_kinds
from search_spaces.relatedness.ranking import grouped
from search_spaces.relatedness.selection import Selection, nearest, related_by_thresholds, stated
from search_spaces.relatedness.text_distances import TEXT_KINDS

# Two distances nearer than this may be a tie: `nearest` decides, so both stay on the short list.
ROUNDING = 1e-6
LONGEST_LIST = 200  # characters of a fault's list of languages without distance
# What is taken when nothing that the campaign names is known of a target: whatever URIEL has, then what needs no
# database.
LAST = ("mixed", "characters")


def related_languages(
    section: ComparisonSection, pool: Sequence[str], faults: list[Fault], texts: Texts | None = None
) -> dict[str, Selection]:
    """Target -> its selection, stated or as `nearest` makes it by the first of the section's distances that is known of
    the target; a target without any is a fault, and left out.

    `texts` gives distances by texts, which are read only where a target needs them. `nearest` sees a short list: the
    languages that may be among the nearest, ties included. So a thousand targets in a pool of a thousand take a second,
    and the notes speak of languages that matter.
    """
    try:
        everyone = (*section.targets, *pool, *chain.from_iterable(section.related.of.values()))
        choice = _Choice(section, pool, distance_source(section.related.source, everyone), texts)
        choice.check_kinds()
    except InputError as unusable:
        faults += [replace(fault, what=f"comparison {section.name}: {fault.what}") for fault in unusable.faults]
        return {}
    chosen = {}
    for place, target in enumerate(section.targets):
        try:
            chosen[target] = choice.of(place, target)
        except InputError as without:
            where = f"comparison {section.name}, target {target}"
            faults += [Fault(f.what, where, _short(f.got), f.todo) for f in without.faults]
    return chosen


@dataclass(slots=True)
class _Choice:
    """One section's choices: its languages, where distances come from, and the short lists made so far."""

    section: ComparisonSection
    pool: Sequence[str]
    source: DistanceSource
    texts: Texts | None
    _measured: dict[str, DistanceSource] = field(default_factory=dict)
    _lists: dict[str, list[list[str]]] = field(default_factory=dict)

    def check_kinds(self) -> None:
        """Raises InputError with every kind that the campaign names and the source lacks."""
        faults: list[Fault] = []
        for by in self.section.related.by:
            try:
                if not _is_measured(by):
                    parse_kinds(by, self.source)
            except InputError as unknown:
                faults += unknown.faults
        if faults:
            raise InputError(*faults)

    def of(self, place: int, target: str) -> Selection:
        """The selection of the target at `place`. Raises InputError for an empty pool, and where nothing is known."""
        asked = self.section.related
        if target in asked.of:
            by = next((by for by in (*asked.by, *self.source.kinds) if not _is_measured(by)), LAST[0])
            return replace(stated(target, asked.of[target], by, self.source), by=by)
        if asked.within and self.pool:
            others = [code for code in self.pool if code != target]
            if self._near("syntactic", place):
                bounds = asked.within.model_dump()
                return replace(related_by_thresholds(target, others, **bounds, source=self.source), by="syntactic")
        wanted = ("syntactic",) if asked.within else asked.by
        for by in dict.fromkeys((*wanted, *LAST)):
            if near := self._near(by, place):
                found = replace(nearest(target, near, by, asked.top, self._source(by)), by=by)
                return found if by == wanted[0] else replace(found, fallback=self._why(target, wanted, by))
        if len({one.key for one in resolve_languages((target, *self.pool))}) == 1:
            return nearest(target, self.pool, LAST[0], asked.top, self.source)  # says that the pool is empty
        what = f"nothing is known of {target} that related languages could be chosen by"
        tried = ", ".join(dict.fromkeys((*wanted, *LAST)))
        raise InputError(Fault(what, got=f"tried: {tried}", todo=f"state them: related: {{of: {{{target}: [...]}}}}"))

    def _why(self, target: str, wanted: Sequence[str], by: str) -> str:
        """Why a target's languages are chosen `by` something else than was wanted first."""
        tried = wanted[: wanted.index(by)] if by in wanted else wanted
        told = [
            note
            for one in filter(_is_measured, tried)
            for language in resolve_languages((target, *self.pool))
            for kind in one.split("+")
            for note in self._source(one).remarks(kind.strip(), language)
        ][:1]  # of the target, else of one language of the pool as an example
        lacking = f"{target} has no distance to any language of the pool by {' or '.join(tried)}"
        return "; ".join((lacking, *told, f"chosen by {by}"))

    def _source(self, by: str) -> DistanceSource:
        if not _is_measured(by):
            return self.source
        if by not in self._measured:
            assert self.texts is not None, "`_near` has said that there are none"
            languages = dict.fromkeys((*self.section.targets, *self.pool))
            self._measured[by] = self.texts([kind.strip() for kind in by.split("+")], tuple(languages))
        return self._measured[by]

    def _near(self, by: str, place: int) -> Sequence[str]:
        """The languages that may be among the nearest to the target at `place`; none where no distance is known."""
        if not self.pool or (_is_measured(by) and self.texts is None):
            return ()
        if by in MIXTURES and not set(MIXTURES[by]) & set(self.source.kinds):
            return ()
        if by not in self._lists:
            self._lists[by] = self._short_lists(by)
        return self._lists[by][place]

    def _short_lists(self, by: str) -> list[list[str]]:
        source, top, lists = self._source(by), self.section.related.top, []
        targets, members = resolve_languages(self.section.targets), resolve_languages(self.pool)
        for row in _order(parse_kinds(by, source), source, targets, members):
            count = min(top, int(np.isfinite(row).sum()))
            bound = np.partition(row, count - 1)[count - 1] + ROUNDING if count else -np.inf
            lists.append([self.pool[place] for place in np.flatnonzero(row <= bound).tolist()])
        return lists


def _order(
    kinds: Sequence[str], source: DistanceSource, targets: Sequence[Language], members: Sequence[Language]
) -> NDArray[np.float64]:
    """[targets, members] numbers in the order of a ranking, infinite where there is no distance and for the target
    itself: the mean distance, and what sets the groups of `grouped` apart.
    """
    groups, means = grouped(np.stack([source.matrix(kind, targets, members) for kind in kinds]))
    values = 2.0 * groups + means
    places: dict[tuple[str, ...], list[int]] = {}
    for place, member in enumerate(members):
        places.setdefault(member.key, []).append(place)
    for number, target in enumerate(targets):
        values[number, places.get(target.key, [])] = np.inf
    return np.asarray(values)


def _is_measured(by: str) -> bool:
    return by.split("+")[0].strip() in TEXT_KINDS


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_LIST else f"{text[:LONGEST_LIST]} ..."
