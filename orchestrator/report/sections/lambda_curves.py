"""The report's part on the search: lambda curves, how flat the optimum is, which related languages were chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.plots.panels import Curve, LambdaPanel
from orchestrator.report.document import (
    Cell,
    Column,
    FigureRef,
    Gallery,
    LegendMark,
    Paragraph,
    Section,
    Table,
    columns,
    foldable,
    row,
)
from orchestrator.report.sections.results import gain_cell, grouped, system_label, validation_gain
from orchestrator.report.wording import (
    DASH,
    comparison_title,
    file_stem,
    panel_title,
    score,
    system_colours,
)
from orchestrator.results.comparisons import Result, ScoredSystem
from orchestrator.results.inputs import ReportInputs
from orchestrator.results.searches import DEFAULT_LAMBDA, Flatness, LambdaCurve

# Colour of a dashed line -> what it stands for.
_ALONE = {
    "proxy-1": "task language alone",
    "proxy-2": "related language alone",
    "proxy-3": "2nd related language alone",
    "proxy-4": "3rd related language alone, and further ones",
    "own": "own adapter alone",
}


def lambda_section(inputs: ReportInputs, results: Sequence[Result]) -> Section | None:
    """Validation score against lambda, one panel a comparison (arXiv 2404.15737, Fig. 5), and how flat it is."""
    alone = [result for result in results if not result.comparison.is_joint]
    searched = [result for result in alone if result.search and result.search.curves]
    if not searched:
        return None
    ordered = [result for group in grouped(searched).values() for result in group]
    figures = tuple(_lambda_figure(inputs, result) for result in ordered)
    note = Paragraph(
        "Validation scores, mean over seeds with a band of one standard deviation; the dot is the lambda that was "
        "chosen. Dashed: the adapters alone. Test data plays no part here.",
        "note",
    )
    shown = {system_colours(result.comparison)[system.name] for result in searched for system in _alone(result)}
    legend: tuple[tuple[str, str, LegendMark], ...] = (
        ("arithmetic", "arithmetic", "line"),
        *((("arithmetic of the other pair", "fixed", "line"),) if any(len(_curves(r)) > 1 for r in searched) else ()),
        *((words, colour, "dashed") for colour, words in _ALONE.items() if colour in shown),
    )
    return Section("Lambda", (note, *foldable(Gallery(figures, legend, "small")), _flatness_table(searched)))


def _lambda_figure(inputs: ReportInputs, result: Result) -> FigureRef:
    search, comparison = result.search, result.comparison
    assert search is not None
    colours = system_colours(comparison)
    curves = tuple(
        Curve(
            " + ".join(curve.pair), curve.lambdas, curve.mean, curve.deviation,
            "arithmetic" if curve.pair == search.winner_pair else "fixed", curve.pair == search.winner_pair,
        )
        for curve in search.curves
    )  # fmt: skip
    alone = _alone(result)
    firsts = sorted((c.pair != search.winner_pair, inputs.language(c.pair[0])) for c in search.curves if c.weighs_first)
    names = list(dict.fromkeys(name for _, name in firsts))
    panel = LambdaPanel(
        panel_title(result),
        "lambda" + (", weight of " if names else "") + " or ".join(names),
        curves,
        tuple((system.label, system.validation, colours[system.name]) for system in alone),
        (search.winner_lambda, search.line_mean),
    )
    metric = comparison.judged[0]
    told = ", ".join(f"{system_label(inputs, s)} {score(metric, s.validation)}" for s in alone)
    alt = f"{panel.title}: best {score(metric, search.line_mean)} at lambda {search.winner_lambda:g}; {told}"
    return FigureRef(file_stem("lambda", comparison.name, comparison.task, comparison.target), panel, alt)


def _alone(result: Result) -> list[ScoredSystem]:
    """Adapters alone whose validation score is known."""
    return [one for one in result.systems if one.role in ("proxy", "own") and not math.isnan(one.validation)]


def _curves(result: Result) -> tuple[LambdaCurve, ...]:
    return result.search.curves if result.search else ()


def _flatness_table(results: Sequence[Result]) -> Table:
    rows = []
    for result in results:
        search, flat = result.search, result.flatness
        assert search is not None
        chosen = Cell(f"{search.winner_lambda:g}", " + ".join(search.winner_pair))
        plateau, verdict = DASH, Cell("lambda 0.5 was not tried")
        if flat is not None:
            plateau = "–".join(dict.fromkeys(f"{end:g}" for end in flat.plateau))
            verdict = Cell(_verdict(search.winner_lambda, flat), mark="unsure" if flat.flat else "gain")
        gains = (validation_gain(result), gain_cell(result, flat.test if flat else None))
        rows.append(row(result.target_name, comparison_title(result.comparison), chosen, plateau, *gains, verdict))
    numbers = ("Lambda", "As good, lambda", "Gain over 0.5, validation", "Gain over 0.5, test")
    titles = (*columns(("Target", "Comparison"), numbers), Column("Did the search gain?", numeric=False))
    return Table("How flat is the optimum?", titles, tuple(rows))


def _verdict(chosen: float, flat: Flatness) -> str:
    if abs(chosen - DEFAULT_LAMBDA) < 1e-9:
        return "it chose 0.5 itself"
    if not flat.flat:
        return "yes, beyond its uncertainty"
    return "no, it lost" if flat.test is not None and flat.test.high < 0 else "less than its uncertainty"


def related_section(inputs: ReportInputs, results: Sequence[Result]) -> Section | None:
    """Which related language each target got, by which distance."""
    found = {(c.target, c.related.by, c.related.ranking): c for c in (result.comparison for result in results)}
    chosen = [(c.target, c.related) for c in found.values() if c.related.ranking]
    if not chosen:
        return None
    rows = tuple(
        row(
            Cell(inputs.language(target), target),
            ", ".join(inputs.language(code) for code, _ in related.ranking),
            ", ".join(DASH if distance is None else f"{distance:.3f}" for _, distance in related.ranking),
            "; ".join(dict.fromkeys(" + ".join(used) for used in related.used if used)) or related.by or DASH,
            related.rule or DASH,
        )
        for target, related in chosen
    )
    table = Table("", columns(("Target", "Related language", "Distance", "Of kind", "Rule")), rows)
    sources = list(dict.fromkeys(related.source for _, related in chosen if related.source))
    notes = list(dict.fromkeys(note for _, related in chosen for note in related.notes))
    text = " ".join([f"Distances: {'; '.join(sources)}." if sources else "", *(f"{note}." for note in notes)]).strip()
    return Section("Related languages", (table, *((Paragraph(text, "note"),) if text else ())))
