"""The campaign's index: what is compared with what. Records know steps; the index knows why they were made."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from jobs.errors import Fault, InputError
from jobs.files.atomic import write_text
from jobs.runtime.redaction import redacted
from jobs.spec import SearchSpec, metric_of
from orchestrator.campaign.notes import campaign_notes
from orchestrator.campaign.published import read_published
from orchestrator.plan.comparisons import PlannedComparison, SystemRole
from orchestrator.plan.plan import Plan
from orchestrator.store.layout import CAMPAIGNS, campaign_folder
from orchestrator.store.step import Step
from search_spaces.relatedness.codes import resolve_language
from search_spaces.relatedness.selection import Selection

INDEX_FORMAT = 1
LANGUAGE_JOBS = ("language-adapter", "foreign-adapter")  # whose languages a report names


def read_index(workspace: Path, campaign: str) -> dict[str, Any]:
    """The campaign index. Raises InputError when the campaign never ran in this workspace, or its index is damaged."""
    file = campaign_folder(workspace, campaign) / "index.json"
    if not file.is_file():
        known = sorted(f.parent.name for f in (workspace / CAMPAIGNS).glob("*/index.json"))
        close = get_close_matches(campaign, known, n=3) or known[:5]
        todo = f"did you mean {', '.join(close)}?" if close else "run it first, or name its workspace"
        raise InputError(Fault(f"campaign {campaign!r} has not run here", str(workspace), todo=todo))
    todo = "run the campaign again"
    try:
        index: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        found = index["format"]
    except (ValueError, KeyError, TypeError) as fault:
        raise InputError(Fault("not an index of a campaign", str(file), str(fault), todo)) from fault
    if found != INDEX_FORMAT:
        got = f"format {found}, this version reads {INDEX_FORMAT}"
        raise InputError(Fault("the index was written by another version", str(file), got, todo))
    for key in index["steps"]:
        _check_key(key, file)
    return index


def _check_key(key: str, file: Path) -> None:
    parts = key.split("/")
    if len(parts) != 2 or any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
        raise InputError(Fault("not the key of a step", str(file), repr(key)))


@dataclass(frozen=True, slots=True)
class System:
    """One row of a comparison: `languages` of its adapters, `evaluations` seed -> key."""

    name: str
    label: str
    role: SystemRole
    languages: tuple[str, ...]
    evaluations: dict[int, str]


@dataclass(frozen=True, slots=True)
class RelatedChoice:
    """How related languages were chosen, and `ranking`: those chosen with their distances if there are any.

    `used`: of each of them the distances by kind that its own is the mean of.
    """

    by: str = ""
    rule: str = ""
    source: str = ""
    ranking: tuple[tuple[str, float | None], ...] = ()
    notes: tuple[str, ...] = ()
    used: tuple[dict[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One target and task with the systems that are scored on it, as the plan laid it out.

    `budget`: tokens that the target's own adapter was trained on; 0 where the section has no budgets. `judges`: where
    text is one, the search of each judge, the deciding one first. `validation`: the metric of the candidates' scores,
    "" for the comparison's own.
    """

    name: str
    kind: str
    section: str = ""
    method: str = ""
    budget: int = 0
    published: str = ""
    source: str = ""
    target: str
    task: str
    task_kind: str
    metric: str
    mode: Literal["max", "min"]
    seeds: tuple[int, ...]
    search: str
    merges: dict[int, str] = field(default_factory=dict)
    systems: tuple[System, ...]
    related: RelatedChoice = RelatedChoice()
    judges: dict[str, str] = field(default_factory=dict)
    validation: str = ""

    @property
    def judged(self) -> tuple[str, Literal["max", "min"]]:
        """Metric and direction of the scores that candidates were chosen by."""
        return (self.validation, "min") if self.validation else (self.metric, self.mode)

    @property
    def is_joint(self) -> bool:
        """Whether one merge serves several targets and tasks."""
        return self.kind == "joint"

    @property
    def is_mixture(self) -> bool:
        """Whether its methods and baselines are those that the campaign names."""
        return self.kind == "mixture"


_COMPARISON = TypeAdapter(Comparison)


def comparison_of(entry: Mapping[str, Any]) -> Comparison:
    """A comparison of the index; where it names no section, its name does."""
    return _COMPARISON.validate_python({"section": entry["name"], **entry})


def index(plan: Plan) -> dict[str, Any]:
    """Plain JSON: step keys in order, languages with names, comparisons with the keys of their evaluations."""
    codes = {s.spec.language for s in plan.steps if s.job in LANGUAGE_JOBS}  # type: ignore[union-attr]
    codes |= {comparison.target for comparison in plan.comparisons}
    return {
        "format": INDEX_FORMAT,
        "campaign": plan.campaign.campaign,
        "description": redacted(plan.campaign.description),
        "backbone": {"name": plan.backbone.name, "revision": plan.backbone.revision},
        "adapter": plan.campaign.language_adapter.kind,
        "steps": [step.key for step in plan.steps],
        "languages": {code: _language(code) for code in sorted(codes)},
        "comparisons": [_COMPARISON.dump_python(_comparison(one), mode="json") for one in plan.comparisons],
        "published": _published(plan),
        "notes": [redacted(note) for note in (*campaign_notes(plan.campaign), *plan.notes)],
    }


def write_index(plan: Plan, folder: Path) -> dict[str, Any]:
    """Write `folder/index.json`; what it holds."""
    content = index(plan)
    write_text(folder / "index.json", json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    return content


def _published(plan: Plan) -> dict[str, Any]:
    """The papers' tables that comparisons name, whole: a report is made from the workspace alone."""
    files = dict.fromkeys(section.published for section in plan.campaign.comparisons if section.published)
    return {file: read_published(Path(file)).model_dump(mode="json", exclude_defaults=True) for file in files}


def _language(code: str) -> dict[str, str]:
    language = resolve_language(code)
    return {"name": language.full_name, "iso639_3": language.iso3}


def _comparison(planned: PlannedComparison) -> Comparison:
    metric, mode = metric_of(planned.task)
    section = planned.section
    return Comparison(
        name=planned.name,
        kind=section.kind,
        section=section.name,
        method=planned.method.name if planned.method else "",
        budget=planned.budget,
        published=section.published,
        source=planned.source,
        target=planned.target,
        task=planned.task.name,
        task_kind=planned.task.kind,
        metric=metric,
        mode=mode,
        seeds=tuple(seed for seed, _ in planned.merges),
        search=planned.search.key,
        merges=_keys(planned.merges),
        systems=tuple(
            System(one.name, one.label, one.role, one.languages, _keys(one.evaluations)) for one in planned.systems
        ),
        related=_choice(planned.related),
        judges={judge: step.key for judge, step in planned.judges},
        validation=_judged_by(planned),
    )


def _judged_by(planned: PlannedComparison) -> str:
    """The metric of a search that text decides; "" where the task's own metric does."""
    if not planned.judges or planned.judges[0][0] == "labels":
        return ""
    spec = planned.search.spec
    assert isinstance(spec, SearchSpec)
    return metric_of(spec.task)[0]


def _choice(made: Selection) -> RelatedChoice:
    ranking = tuple((one.code, _distance(one.distance)) for one in made.chosen)
    used = tuple({kind: round(value, 4) for kind, value in one.by_kind} for one in made.chosen)
    notes = (*([made.fallback] if made.fallback else []), *made.notes)
    return RelatedChoice(made.by, made.rule, made.source, ranking, notes, used)


def _distance(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def _keys(steps: Iterable[tuple[int, Step]]) -> dict[int, str]:
    return {seed: step.key for seed, step in steps}
