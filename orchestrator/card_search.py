"""What the card of a merge says of the search that chose its weights."""

from __future__ import annotations

from typing import Any

from jobs.spec import MergeSpec, metric_named
from orchestrator.store.record import Record


def search_targets(spec: MergeSpec, search: Record) -> list[str]:
    """The languages that the merge is for: one, or all of a joint search."""
    also = search.spec.get("also", ())
    every = [search.spec["target"], *(objective["target"] for objective in also)]
    return list(dict.fromkeys(every)) if also and not spec.best_for else [spec.target]


def search_facts(spec: MergeSpec, search: Record) -> tuple[list[tuple[str, str]], str]:
    """Validation scores of the weights, and a sentence on how they were chosen."""
    if "objectives" in search.details:
        return _joint_facts(spec, search)
    winner: dict[str, Any] = search.details["winner"]
    scores = ", ".join(f"{plain_number(score)} (seed {seed})" for seed, score in sorted(winner["scores"].items()))
    task = search.spec["task"]
    metric, _ = metric_named(task["kind"], task.get("metric", ""))
    facts = [(f"validation {metric}, mean over seeds", plain_number(winner["mean"])), ("each seed", scores)]
    return facts, "The weights were chosen on validation data. Test scores stand in the campaign's report."


def _joint_facts(spec: MergeSpec, search: Record) -> tuple[list[tuple[str, str]], str]:
    details = search.details
    best = {one["name"]: one["best"] for one in details["objectives"]}
    row = details["candidates"][best[spec.best_for]] if spec.best_for else details["winner"]
    metrics = {one["name"]: one["metric"] for one in details["objectives"]}
    facts = [
        (f"validation {metrics[name]} of {name}, mean over seeds", plain_number(found["mean"]))
        for name, found in row["objectives"].items()
    ]
    said = f"for {spec.best_for} alone" if spec.best_for else "for all of these at once"
    todo = "Test scores stand in the campaign's report."
    return facts, f"The weights were chosen on validation data, {said}. {todo}"


def plain_number(value: float) -> str:
    """Whole numbers with separators, others with four digits that count."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
