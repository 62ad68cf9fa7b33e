"""Report: how an adapter is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from jobs.adapters.loading_code import loading_code, peft_merge_code
from jobs.adapters.weight_files import is_peft
from jobs.spec import BackboneRef
from orchestrator.report.document import (
    Cell,
    Code,
    Column,
    Fold,
    Paragraph,
    Section,
    Table,
)
from orchestrator.report.wording import baseline, comparison_title
from orchestrator.results.comparisons import Result
from orchestrator.results.inputs import ReportInputs


def loading_section(inputs: ReportInputs, results: Sequence[Result]) -> Section | None:
    """The merge with the clearest gain in three lines of code, and where the others are."""
    merged = [(r, seed, key) for r in results for seed, key in r.comparison.merges.items() if key in inputs.records]
    if not merged:
        return None
    best, seed, key = max(merged, key=lambda entry: _clearness(entry[0]))
    record = inputs.records[key]
    backbone, place = BackboneRef(**record.spec["backbone"]), _shown(inputs, key)
    search = inputs.records.get(best.comparison.search)
    task = search.spec["task"] if search else {"kind": best.comparison.task_kind}
    code = peft_merge_code(backbone, place, task) if is_peft(record.files) else loading_code(backbone, place)
    text = (
        f"The merge for {best.target_name} ({comparison_title(best.comparison)}, seed {seed}), whose gain is the "
        "clearest of this campaign. Its `README.md` tells what it was made from and how to stack the task adapter."
    )
    rows = tuple(
        (Cell(r.target_name), Cell(comparison_title(r.comparison)), Cell(str(s)), Cell(f"`{k}`")) for r, s, k in merged
    )
    columns = (Column("Target", False), Column("Comparison", False), Column("Seed"), Column("In `artifacts/`", False))
    fold = Fold("All merged adapters", (Table("", columns, rows),))
    return Section("Load the winner", (Paragraph(text), Code("python", code), fold))


def _clearness(result: Result) -> float:
    """Lower end of the deciding gain's interval in units of its width, to compare F1 with loss."""
    gain = baseline(result)
    if gain is None or math.isnan(gain.low) or gain.high <= gain.low:
        return -math.inf
    return gain.low / (gain.high - gain.low)


def _shown(inputs: ReportInputs, key: str) -> str:
    path = inputs.store.path(key)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
