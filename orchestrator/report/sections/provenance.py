"""The report's last parts: how the winner is loaded, and where everything came from."""

from __future__ import annotations

import math
import shlex
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from jobs.adapters.loading_code import loading_code, peft_merge_code
from jobs.adapters.safe_paths import is_peft
from jobs.spec import BackboneRef
from orchestrator.report.document import Block, Code, Facts, Fold, Paragraph, Section, Table, columns, row
from orchestrator.report.scoring_notes import scoring_notes
from orchestrator.report.wording import DASH, baseline, comparison_title, counted
from orchestrator.results.comparisons import Result
from orchestrator.results.inputs import ReportInputs
from orchestrator.store.record import Record


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
    by_interface = bool(record.details.get("by_interface"))
    plain = loading_code(backbone, place, by_interface=by_interface)
    code = peft_merge_code(backbone, place, task) if is_peft(record.files) else plain
    text = (
        f"The merge for {best.target_name} ({comparison_title(best.comparison)}, seed {seed}), whose gain is the "
        "clearest of this campaign. Its `README.md` tells what it was made from and how to stack the task adapter."
    )
    rows = tuple(row(r.target_name, comparison_title(r.comparison), str(s), f"`{k}`") for r, s, k in merged)
    titles = (*columns(("Target", "Comparison"), ["Seed"]), *columns(["In `artifacts/`"]))
    fold = Fold("All merged adapters", (Table("", titles, rows),))
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


def provenance_section(inputs: ReportInputs) -> Section | None:
    """Versions, revisions, what is to be known of the scores, and the command to repeat, from the records."""
    records = sorted(inputs.records.values(), key=lambda record: str(record.provenance.get("finished", "")))
    if not records:
        return None
    latest = records[-1].provenance
    facts = [("campaign", inputs.campaign)]
    facts += [
        ("backbone", f"{b['name']} @ {b['revision']}") for b in _distinct(r.spec.get("backbone") for r in records)
    ]
    facts += [
        ("first step", str(records[0].provenance.get("started", ""))),
        ("last step", str(latest.get("finished", ""))),
    ]
    facts += [("git commit", ", ".join(_values(records, "git_commit"))), ("host", ", ".join(_values(records, "host")))]
    facts += [("executor", ", ".join(_values(records, "executor")))]
    scored = [r.details for r in records if r.job == "evaluation" and "precision" in r.details]
    precisions = sorted({str(one["precision"]) for one in scored})
    facts += [("scored in", ", ".join(precisions))]
    facts += [(name, str(version)) for name, version in sorted(dict(latest.get("versions", {})).items())]
    argv = [str(part) for part in latest.get("argv", ())]
    repeat: tuple[Block, ...] = ()
    if argv:
        repeat = (Paragraph("To repeat it:"), Code("sh", shlex.join(["adapterfleet", *argv])))
    data = Fold(f"Data: {counted(len(_data_rows(inputs)), 'source')}", (_data_table(inputs),))
    notes = tuple(Paragraph(f"{note}.") for note in scoring_notes(records))
    return Section("Provenance", (Facts(tuple(fact for fact in facts if fact[1])), *notes, data, *repeat))


def _values(records: Sequence[Record], name: str) -> list[str]:
    return list(dict.fromkeys(str(r.provenance[name]) for r in records if r.provenance.get(name)))


def _distinct(values: object) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for value in values:  # type: ignore[attr-defined]
        if value is not None and value not in found:
            found.append(value)
    return found


def _data_rows(inputs: ReportInputs) -> dict[tuple[str, str, str], set[str]]:
    """(source, data set, revision) -> languages."""
    rows: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for record in inputs.records.values():
        for name in ("corpus", "data"):
            data = record.spec.get(name)
            if data:
                rows[data["source"], data.get("dataset", ""), data["revision"]].add(data["language"])
    return rows


def _data_table(inputs: ReportInputs) -> Table:
    rows = tuple(
        row(source, dataset or DASH, f"`{revision}`", ", ".join(sorted(codes)))
        for (source, dataset, revision), codes in sorted(_data_rows(inputs).items())
    )
    return Table("", columns(("Source", "Data set", "Revision", "Languages")), rows)
