"""Score against token budget: the target's own adapter against arithmetic with it (arXiv 2404.15737, Fig. 4)."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.plots.panels import BudgetPanel, Curve
from orchestrator.report.document import FigureRef, Gallery, LegendMark, Paragraph, Section, foldable
from orchestrator.report.wording import counted, file_stem, score, system_colours, task_title
from orchestrator.results.comparisons import Result, ScoredSystem

_Place = tuple[str, str, str, str]


def budgets_section(results: Sequence[Result]) -> Section | None:
    """A figure for each target, task and method that was compared with several budgets; None without any."""
    groups: dict[_Place, list[Result]] = {}
    for result in results:
        one = result.comparison
        if one.budget and any(system.done for system in result.systems):
            groups.setdefault((one.section, one.task, one.target, one.method), []).append(result)
    found = [(place, group) for place, group in groups.items() if len(group) > 1]
    if not found:
        return None
    note = Paragraph(
        "Test score, mean over seeds, against the tokens that the target's own adapter was trained on. Bands are one "
        "standard deviation over seeds. Dashed: systems that do not depend on the budget.",
        "note",
    )
    figures = tuple(_figure(place, sorted(group, key=lambda one: one.comparison.budget)) for place, group in found)
    return Section("Token budgets", (note, *foldable(Gallery(figures, _legend(found[0][1][0]), "medium"))))


def _figure(place: _Place, group: Sequence[Result]) -> FigureRef:
    first = group[0].comparison
    colours, curves, dashed = _colours(group[0]), [], []
    for system in group[0].systems:
        points = [(result, same) for result in group if (same := _named(result, system.name)) is not None]
        if not points:
            continue
        if _is_fixed(group, system.name):
            dashed.append((system.label, points[0][1].mean, colours[system.name]))
            continue
        xs = tuple(float(result.comparison.budget) for result, _ in points)
        means, spreads = (tuple(getattr(one, name) for _, one in points) for name in ("mean", "deviation"))
        strong = system.role == "arithmetic"
        curves.append(Curve(system.label, xs, means, spreads, colours[system.name], strong))
    told = "; ".join(f"{curve.label} {_points(first.metric, curve)}" for curve in curves)
    title = f"{group[0].target_name}, {task_title(first)}"
    panel = BudgetPanel(title, "tokens of the own adapter", tuple(curves), tuple(dashed))
    return FigureRef(file_stem("budgets", *place), panel, f"{title} by {counted(len(group), 'budget')}: {told}")


def _points(metric: str, curve: Curve) -> str:
    return ", ".join(f"{score(metric, y)} at {x:,.0f}" for x, y in zip(curve.xs, curve.ys, strict=True))


def _named(result: Result, name: str) -> ScoredSystem | None:
    return next((system for system in result.systems if system.name == name and system.done), None)


def _is_fixed(group: Sequence[Result], name: str) -> bool:
    """Whether a system is tested by the same steps whatever the budget."""
    steps = [one.evaluations for result in group for one in result.comparison.systems if one.name == name]
    return all(one == steps[0] for one in steps)


def _colours(result: Result) -> dict[str, str]:
    return {**system_colours(result.comparison), **{s.name: "own" for s in result.systems if s.role == "own"}}


def _legend(result: Result) -> tuple[tuple[str, str, LegendMark], ...]:
    colours = _colours(result)
    marks: dict[str, LegendMark] = {"own": "line", "arithmetic": "line"}
    return tuple((one.label, colours[one.name], marks.get(one.role, "dashed")) for one in result.systems)
