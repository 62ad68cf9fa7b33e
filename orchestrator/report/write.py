"""write_report: records -> one HTML page, Markdown and figures. Reads the workspace, writes only its report."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.files.atomic import write_text
from orchestrator.plots.palette import inline
from orchestrator.report.document import Document, FigureRef, Section, figures
from orchestrator.report.numbers import numbers
from orchestrator.report.render import markdown, page
from orchestrator.report.sections.budgets import budgets_section
from orchestrator.report.sections.cost import cost_section, search_section
from orchestrator.report.sections.joint import joint_section
from orchestrator.report.sections.judges import judges_section
from orchestrator.report.sections.lambda_curves import lambda_section, related_section
from orchestrator.report.sections.papers import papers_section
from orchestrator.report.sections.parts import parts_section
from orchestrator.report.sections.provenance import loading_section, provenance_section
from orchestrator.report.sections.results import gains_section, results_section
from orchestrator.report.sections.run_times import run_times_section
from orchestrator.report.sections.summary import summary
from orchestrator.report.sections.training import training_section, vectors_section
from orchestrator.results.comparisons import Result, campaign_results
from orchestrator.results.inputs import ReportInputs, read_inputs
from orchestrator.results.joint_searches import as_result, joint_results
from orchestrator.store.layout import campaign_folder

# Raised by hand when `orchestrator.plots.svg` draws the same panel differently.
DRAWING_VERSION = 5
_DIGEST_MARK = "<!-- panel "


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """What was written. `figures`: the SVG files that the Markdown shows; `results`: what stands in the tables."""

    html: Path
    markdown: Path
    figures: tuple[Path, ...]
    results: tuple[Result, ...]


def write_report(workspace: Path, campaign: str) -> ReportPaths:
    """Write `<workspace>/campaigns/<campaign>/report/`: index.html, report.md, results.json and figures/.

    Every file is written beside and renamed. Works on a campaign that is not finished. Raises InputError when
    the campaign never ran in this workspace.
    """
    inputs = read_inputs(workspace, campaign)
    folder = campaign_folder(workspace, campaign) / "report"
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    results = campaign_results(inputs)
    document = build(inputs, results, folder)
    drawn = {figure.name: _drawn(figure, folder / "figures") for figure in figures(document)}
    write_text(folder / "index.html", page(document, {name: inline(svg) for name, svg in drawn.items()}))
    write_text(folder / "report.md", markdown(document, "figures"))
    write_text(folder / "results.json", numbers(inputs, results))
    files = tuple(folder / "figures" / f"{name}.svg" for name in drawn)
    for stale in set((folder / "figures").glob("*.svg")) - set(files):
        stale.unlink()
    return ReportPaths(folder / "index.html", folder / "report.md", files, tuple(results))


def build(inputs: ReportInputs, results: Sequence[Result], folder: Path) -> Document:
    """The report's content, most important first; `folder` keeps what is slow to compute."""
    joint = joint_results(inputs)
    sections: tuple[Section | None, ...] = (
        summary(inputs, results),
        results_section(inputs, results) if results else None,
        papers_section(inputs, results),
        gains_section(results),
        budgets_section(results),
        judges_section(inputs, results),
        parts_section(inputs, results),
        lambda_section(inputs, results),
        joint_section(joint),
        search_section([*(one for one in results if not one.comparison.is_joint), *map(as_result, joint)]),
        related_section(inputs, results),
        loading_section(inputs, results),
        vectors_section(inputs, folder),
        training_section(inputs),
        run_times_section(inputs),
        cost_section(inputs, results),
        provenance_section(inputs),
    )
    missing = len(inputs.missing)
    state = f"{missing} of {len(inputs.steps)} steps missing" if missing else "complete"
    return Document(inputs.campaign, inputs.description, state, tuple(s for s in sections if s is not None))


def _drawn(figure: FigureRef, folder: Path) -> str:
    """The figure's SVG file, drawn only when its panel has changed."""
    file = folder / f"{figure.name}.svg"
    digest = hashlib.sha256(f"{DRAWING_VERSION} {figure.panel!r}".encode()).hexdigest()
    mark = f"{_DIGEST_MARK}{digest} -->"
    if file.is_file() and (kept := file.read_text(encoding="utf-8")).startswith(mark):
        return kept
    # Here, because loading matplotlib takes longer than a report whose figures are all there.
    from orchestrator.plots.svg import draw

    document = f"{mark}\n{draw(figure.panel)}\n"
    write_text(file, document)
    return document
