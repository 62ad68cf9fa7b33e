"""What joint searches found: every candidate's validation score for every objective, the front, and the choice."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.plan.index import Comparison
from orchestrator.results.comparisons import Result
from orchestrator.results.inputs import ReportInputs
from orchestrator.results.searches import Flatness, Search, search_of
from orchestrator.store.record import Record


@dataclass(frozen=True, slots=True)
class JointObjective:
    """One of the things that the merge is wanted for. `best`: the number of the best candidate for it alone."""

    comparison: Comparison
    target_name: str
    best: int
    constant: bool


@dataclass(frozen=True, slots=True)
class JointCandidate:
    """A mixture with its worth by the search's choice and its validation means, one an objective."""

    weights: tuple[tuple[str, float], ...]
    rule: str
    worth: float
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class JointResult:
    """A finished joint search. `front`, `chosen`: numbers of candidates. `reference`: the plain mean's, which is one.

    `gain`: worth of the winner less that of the plain mean, `error` its standard error, nan where it is not known.
    """

    name: str
    choice: str
    metric: str
    objectives: tuple[JointObjective, ...]
    candidates: tuple[JointCandidate, ...]
    front: tuple[int, ...]
    chosen: int
    reference: int
    search: Search
    gain: float
    error: float


def joint_results(inputs: ReportInputs) -> tuple[JointResult, ...]:
    """One result a joint comparison whose search is finished, in the campaign's order."""
    sections: dict[str, list[Comparison]] = {}
    for comparison in inputs.comparisons:
        if comparison.is_joint and comparison.search in inputs.records:
            sections.setdefault(comparison.search, []).append(comparison)
    return tuple(_joint(inputs, inputs.records[key], group) for key, group in sections.items())


def as_result(joint: JointResult) -> Result:
    """The search as tables of searches have it: by the joint worth, with the plain mean as its default."""
    first = joint.objectives[0].comparison
    tasks = ", ".join(dict.fromkeys(one.comparison.task for one in joint.objectives))
    comparison = replace(first, task=tasks, task_kind="one merge", metric=joint.metric, mode="max")
    nowhere = (math.nan, math.nan)
    flatness = Flatness(joint.gain, joint.error, None, nowhere, 0.0)
    targets = ", ".join(dict.fromkeys(one.target_name for one in joint.objectives))
    return Result(comparison, targets, (), joint.search, "", (), flatness)


def _joint(inputs: ReportInputs, record: Record, group: Sequence[Comparison]) -> JointResult:
    details = record.details
    rows, default = details["candidates"], details["default"]
    by_name = {f"{comparison.task}/{comparison.target}": comparison for comparison in group}
    told = [one for one in details["objectives"] if one["name"] in by_name]
    return JointResult(
        name=group[0].section,
        choice=details["metric"].removeprefix("joint_"),
        metric=details["metric"],
        objectives=tuple(
            JointObjective(by_name[one["name"]], inputs.language(one["target"]), one["best"], one["constant"])
            for one in told
        ),
        candidates=tuple(_candidates(rows, [one["name"] for one in told])),
        front=tuple(details["front"]),
        chosen=rows.index(details["winner"]),
        reference=next(at for at, row in enumerate(rows) if _mixture(row) == _mixture(default)),
        search=search_of(record, "max", rows, details["winner"]),
        gain=float(default["gain"]),
        error=math.nan if default["error"] is None else float(default["error"]),
    )


def _candidates(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> Iterator[JointCandidate]:
    for row in rows:
        options = ", ".join(f"{name} {value:g}" for name, value in row.get("options", {}).items())
        rule = " ".join(filter(None, (row.get("method", ""), options)))
        scores = tuple(float(row["objectives"][name]["mean"]) for name in names)
        yield JointCandidate(tuple(sorted(row["weights"].items())), rule, float(row["mean"]), scores)


def _mixture(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["weights"], row.get("method", ""), row.get("options", {})
