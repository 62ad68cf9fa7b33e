"""The report's second half: loading the winner, language vectors, cost, provenance."""

from __future__ import annotations

import math
import shlex
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError

from jobs.adapters.loading_code import loading_code, peft_merge_code
from jobs.adapters.weight_files import is_peft
from jobs.errors import InputError
from jobs.spec import BackboneRef
from orchestrator.report_blocks import (
    Block,
    Cell,
    Code,
    Column,
    Facts,
    FigureRef,
    Fold,
    Gallery,
    Paragraph,
    Section,
    Table,
)
from orchestrator.report_inputs import ReportInputs
from orchestrator.report_panels import DensityPanel, HeatPanel
from orchestrator.report_vectors import NEAR_ZERO, LanguageVectors, language_vectors, similar_order
from orchestrator.report_wording import DASH, baseline, comparison_title, counted, duration, task_title
from orchestrator.results import Result
from orchestrator.store.record import Record

GAUSSIAN_NEAR_ZERO = math.erf(NEAR_ZERO / math.sqrt(2))


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


def vectors_section(inputs: ReportInputs, folder: Path) -> Section | None:
    """Cosine similarity and weight distribution of language vectors (paper, Figs 10 and 9)."""
    try:
        vectors = language_vectors(inputs, folder / "vectors.json")
    except (InputError, OSError, SafetensorError) as fault:
        return Section("Language vectors", (Paragraph(f"They cannot be read: {fault}", "alarm"),))
    if vectors is None:
        return None
    order = similar_order(vectors.cosine)
    cosine = tuple(tuple(vectors.cosine[i][j] for j in order) for i in order)
    heat = HeatPanel("Cosine similarity", tuple(vectors.languages[i] for i in order), cosine)
    density = DensityPanel(
        "Weights of each language vector", "weight / its root mean square", vectors.edges, vectors.density
    )
    low, high, mean = (f"{value:.2f}".replace("-", "−") for value in _off_diagonal(cosine))
    near = sum(vectors.near_zero) / len(vectors.near_zero)
    text = (
        f"A language vector is tau = theta − theta_pre over the adapter's own parameters, here of seed {vectors.seed}. "
        f"Similarities run from "
        f"{low} to {high}, {mean} on average. On average {near:.0%} of a vector's weights are near zero "
        f"(below {NEAR_ZERO:g} of its root mean square); of a Gaussian (dashed) it would be {GAUSSIAN_NEAR_ZERO:.0%}."
    )
    gallery = Gallery(
        (
            FigureRef("vectors-cosine", heat, f"Cosine similarity of language vectors, {low} to {high}"),
            FigureRef("vectors-density", density, f"Distribution of weights; {near:.0%} are near zero"),
        ),
        size="large",
    )
    fold = Fold("Each language vector in numbers", (_vector_table(inputs, vectors),))
    return Section("Language vectors", (Paragraph(text, "note"), gallery, fold))


def _off_diagonal(cosine: tuple[tuple[float, ...], ...]) -> tuple[float, float, float]:
    values = [value for i, row in enumerate(cosine) for value in row[:i]]
    return min(values), max(values), sum(values) / len(values)


def _vector_table(inputs: ReportInputs, vectors: LanguageVectors) -> Table:
    rows = []
    for i, code in enumerate(vectors.languages):
        others = [j for j in range(len(vectors.languages)) if j != i]
        nearest = max(others, key=lambda j: vectors.cosine[i][j])
        alike = f"{inputs.language(vectors.languages[nearest])} {vectors.cosine[i][nearest]:.3f}"
        cells = (f"{vectors.rms[i]:.2e}", f"{vectors.near_zero[i]:.1%}", f"{vectors.beyond[i]:.2%}", alike)
        rows.append((Cell(inputs.language(code), code), *map(Cell, cells)))
    columns = ("Root mean square", "Near zero", "Beyond 4 times that", "Most similar")
    return Table("", (Column("Language", False), *map(Column, columns)), tuple(rows))


def cost_section(inputs: ReportInputs, results: Sequence[Result]) -> Section:
    """Steps, reuse and compute time by job, then what each search cost."""
    jobs = list(dict.fromkeys(key.split("/")[0] for key in inputs.steps))
    total = sum(_seconds(record) for record in inputs.records.values())
    rows = [_cost_row(inputs, job, [k for k in inputs.steps if k.startswith(job + "/")], total) for job in jobs]
    everything = _cost_row(inputs, "all", list(inputs.steps), total)
    columns = (
        Column("Job", False), Column("Steps"), Column("Done"), Column("Run last time"), Column("Reused"),
        Column("Compute time"), Column("Share"),
    )  # fmt: skip
    note = Paragraph(
        "Compute time is what the steps took when they were made, whichever run made them; steps trained together "
        "share the time of their bank.",
        "note",
    )
    blocks: list[Block] = [note, Table("", columns, tuple(rows), everything)]
    searched = [result for result in results if result.search]
    if searched:
        searches = {result.search.key: result.search for result in searched if result.search}
        count, seconds = sum(s.evaluations for s in searches.values()), sum(s.seconds for s in searches.values())
        many = "1 search" if len(searches) == 1 else f"{len(searches)} searches"
        text = f"{many} scored {counted(count, 'candidate')} on validation data in {duration(seconds)}."
        blocks += [Paragraph(text), Fold("Every search", (_search_table(searched),))]
    return Section("Reuse and cost", tuple(blocks))


def _cost_row(inputs: ReportInputs, job: str, keys: Sequence[str], total: float) -> tuple[Cell, ...]:
    done = [inputs.records[key] for key in keys if key in inputs.records]
    executed = sum(key in inputs.events.executed for key in keys)
    seconds = sum(_seconds(record) for record in done)
    share = f"{seconds / total:.0%}" if total else DASH
    numbers = (len(keys), len(done), executed, len(done) - min(executed, len(done)))
    return (Cell(job), *(Cell(f"{n:,}") for n in numbers), Cell(duration(seconds)), Cell(share))


def _seconds(record: Record) -> float:
    return float(record.provenance.get("seconds", 0.0))


def _search_table(results: Sequence[Result]) -> Table:
    rows, seen = [], set()
    for result in results:
        search = result.search
        assert search is not None
        if search.key in seen:
            continue
        seen.add(search.key)
        each = duration(search.seconds / search.evaluations) if search.evaluations else DASH
        cells = (str(search.evaluations), str(search.found_at), duration(search.seconds), each)
        rows.append((Cell(result.target_name), Cell(task_title(result.comparison)), *map(Cell, cells)))
    columns = (
        Column("Target", False), Column("Task", False), Column("Candidates scored"), Column("Winner was number"),
        Column("Time"), Column("Each"),
    )  # fmt: skip
    return Table("", columns, tuple(rows))


def provenance_section(inputs: ReportInputs) -> Section | None:
    """Versions, revisions and the command to repeat, from the records."""
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
    facts += [(name, str(version)) for name, version in sorted(dict(latest.get("versions", {})).items())]
    argv = [str(part) for part in latest.get("argv", ())]
    repeat: tuple[Block, ...] = ()
    if argv:
        repeat = (Paragraph("To repeat it:"), Code("sh", shlex.join([Path(argv[0]).name, *argv[1:]])))
    data = Fold(f"Data: {counted(len(_data_rows(inputs)), 'source')}", (_data_table(inputs),))
    return Section("Provenance", (Facts(tuple(fact for fact in facts if fact[1])), data, *repeat))


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
        (Cell(source), Cell(dataset or DASH), Cell(f"`{revision}`"), Cell(", ".join(sorted(codes))))
        for (source, dataset, revision), codes in sorted(_data_rows(inputs).items())
    )
    columns = (
        Column("Source", False),
        Column("Data set", False),
        Column("Revision", False),
        Column("Languages", False),
    )
    return Table("", columns, rows)
