"""Advice before cost: what the workspace's past searches say of those that are planned, and how often that was right.

It never decides: a plan is the same with and without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import InputError
from orchestrator.plan.comparisons import PlannedComparison
from orchestrator.plan.index import Comparison
from orchestrator.plan.plan import Plan
from orchestrator.results.comparisons import gain_on_test
from orchestrator.results.inputs import read_arithmetic
from orchestrator.store.layout import CAMPAIGNS

LEAST = 10  # past searches of one kind, below which nothing is said
NEIGHBOURS = 5  # past searches that are asked


@dataclass(frozen=True, slots=True)
class SearchKind:
    """Searches that are comparable: one kind of comparison and of task on one backbone, with relatedness by the same
    kinds of distance.
    """

    comparison: str
    task_kind: str
    backbone: str
    distances: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PastSearch:
    """A finished search. `distance`: of the target and its nearest related language. `gain`: see `gain_on_test`."""

    kind: SearchKind
    target: str
    distance: float
    gain: float


@dataclass(frozen=True, slots=True)
class PlannedSearch:
    """A search that the plan would run."""

    kind: SearchKind
    target: str
    task: str
    distance: float


@dataclass(frozen=True, slots=True)
class Advice:
    """What the past says of the `asked` searches of one kind; `unlikely` are those that it expects to gain nothing.

    Of `past` searches `gained` had a gain above zero. With each target left out in turn the rule was right for `right`;
    it warned of `warned`, of which `rightly` gained nothing.
    """

    kind: SearchKind
    asked: int
    unlikely: tuple[PlannedSearch, ...]
    past: int
    gained: int
    right: int
    warned: int
    rightly: int

    @property
    def commoner(self) -> int:
        """For how many one answer for all would be right."""
        return max(self.gained, self.past - self.gained)

    @property
    def tells(self) -> bool:
        """Whether the rule was right more often than one answer for all."""
        return self.right > self.commoner


def past_searches(workspace: Path) -> tuple[PastSearch, ...]:
    """Every finished search of language arithmetic in the workspace, once; of campaigns that this version can read."""
    found: dict[str, PastSearch] = {}
    for file in sorted((workspace / CAMPAIGNS).glob("*/index.json")):
        try:
            inputs = read_arithmetic(workspace, file.parent.name)
        except (InputError, ValueError):
            continue  # another version's: the report of that campaign says what is wrong
        for one in inputs.comparisons:
            gain, near = gain_on_test(inputs, one), _nearest(one)
            if gain is not None and near is not None:
                kind = SearchKind(one.kind, one.task_kind, inputs.backbone_name, near[0])
                found.setdefault(one.search, PastSearch(kind, one.target, near[1], gain))
    return tuple(found.values())


def _nearest(comparison: Comparison) -> tuple[tuple[str, ...], float] | None:
    """Kinds of distance and distance of the nearest related language; None where it has none."""
    related = comparison.related
    if not related.used or not related.used[0] or related.ranking[0][1] is None:
        return None
    return tuple(related.used[0]), related.ranking[0][1]


def planned_searches(plan: Plan, new: Sequence[str]) -> Iterator[PlannedSearch]:
    """The searches of language arithmetic among the steps of the keys `new` whose related language has a distance."""
    keys = frozenset(new)
    for one in plan.comparisons:
        if one.search.key in keys and one.section.kind in ("zero-shot", "enhancement"):
            yield from _planned(one, plan.backbone.name)


def _planned(comparison: PlannedComparison, backbone: str) -> Iterator[PlannedSearch]:
    nearest = next(iter(comparison.related.chosen), None)
    if nearest is not None and nearest.by_kind:
        kinds = tuple(kind for kind, _ in nearest.by_kind)
        kind = SearchKind(comparison.section.kind, comparison.task.kind, backbone, kinds)
        yield PlannedSearch(kind, comparison.target, comparison.task.name, nearest.distance)


def advise(past: Sequence[PastSearch], asked: Sequence[PlannedSearch]) -> tuple[Advice, ...]:
    """What is to be said of each kind of search that has `LEAST` past ones or more."""
    return tuple(
        _advice(kind, [one for one in past if one.kind == kind], [one for one in asked if one.kind == kind])
        for kind in dict.fromkeys(one.kind for one in asked)
        if sum(one.kind == kind for one in past) >= LEAST
    )


def _advice(kind: SearchKind, past: Sequence[PastSearch], asked: Sequence[PlannedSearch]) -> Advice:
    expected = [(expects_gain(past, one.target, one.distance), one.gain > 0.0) for one in past]
    unlikely = tuple(one for one in asked if not expects_gain(past, one.target, one.distance))
    return Advice(
        kind=kind,
        asked=len(asked),
        unlikely=unlikely,
        past=len(past),
        gained=sum(gained for _, gained in expected),
        right=sum(said == gained for said, gained in expected),
        warned=sum(not said for said, _ in expected),
        rightly=sum(not said and not gained for said, gained in expected),
    )


def expects_gain(past: Sequence[PastSearch], target: str, distance: float) -> bool:
    """Whether most of the `NEIGHBOURS` past searches for other targets gained whose distance is nearest to this one.

    Of equally near ones those that stand first count. True where half of them or none is there to ask.
    """
    others = sorted((one for one in past if one.target != target), key=lambda one: abs(one.distance - distance))
    near = others[:NEIGHBOURS]
    return 2 * sum(one.gain > 0.0 for one in near) >= len(near)
