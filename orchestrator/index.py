"""The campaign's index: what is compared with what. Records know steps; the index knows why they were made."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from jobs.runtime.redaction import redacted
from jobs.spec import metric_of
from orchestrator.campaign.published import read_published
from orchestrator.plan import Plan
from orchestrator.plan_comparisons import PlannedComparison
from orchestrator.report_inputs import INDEX_FORMAT
from search_spaces.relatedness.codes import resolve_language


def index(plan: Plan) -> dict[str, Any]:
    """Plain JSON: step keys in order, languages with names, comparisons with the keys of their evaluations."""
    codes = {s.spec.language for s in plan.steps if s.job == "language-adapter"}  # type: ignore[union-attr]
    codes |= {comparison.target for comparison in plan.comparisons}
    return {
        "format": INDEX_FORMAT,
        "campaign": plan.campaign.campaign,
        "description": redacted(plan.campaign.description),
        "backbone": {"name": plan.backbone.name, "revision": plan.backbone.revision},
        "steps": [step.key for step in plan.steps],
        "languages": {code: _language(code) for code in sorted(codes)},
        "comparisons": [_comparison_entry(comparison) for comparison in plan.comparisons],
        "published": _published(plan),
    }


def write_index(plan: Plan, folder: Path) -> None:
    """Write `folder/index.json` beside and rename."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".index.json.{os.getpid()}"
    beside.write_text(json.dumps(index(plan), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    beside.replace(folder / "index.json")


def _published(plan: Plan) -> dict[str, Any]:
    """The papers' tables that comparisons name, whole: a report is made from the workspace alone."""
    files = dict.fromkeys(section.published for section in plan.campaign.comparisons if section.published)
    return {file: read_published(Path(file)).model_dump(mode="json", exclude_defaults=True) for file in files}


def _language(code: str) -> dict[str, str]:
    language = resolve_language(code)
    return {"name": language.name, "iso639_3": language.iso3}


def _comparison_entry(comparison: PlannedComparison) -> dict[str, Any]:
    metric, mode = metric_of(comparison.task)
    related = comparison.related
    return {
        "name": comparison.name,
        "kind": comparison.section.kind,
        "section": comparison.section.name,
        "method": comparison.method.name if comparison.method else "",
        "published": comparison.section.published,
        "source": comparison.source,
        "target": comparison.target,
        "task": comparison.task.name,
        "task_kind": comparison.task.kind,
        "metric": metric,
        "mode": mode,
        "seeds": [seed for seed, _ in comparison.merges],
        "search": comparison.search.key,
        "merges": {str(seed): step.key for seed, step in comparison.merges},
        "systems": [
            {
                "name": system.name,
                "label": system.label,
                "role": system.role,
                "languages": list(system.languages),
                "evaluations": {str(seed): step.key for seed, step in system.evaluations},
            }
            for system in comparison.systems
        ],
        "related": {
            "by": comparison.section.related.by,
            "rule": related.rule,
            "source": related.source,
            "ranking": [[one.code, round(one.distance, 4)] for one in related.chosen],
            "notes": list(related.notes),
        },
    }
