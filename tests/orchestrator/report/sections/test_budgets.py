"""Scores against token budgets."""

from __future__ import annotations

import math

from orchestrator.plan.index import Comparison, System
from orchestrator.plots.panels import BudgetPanel
from orchestrator.report.document import Gallery
from orchestrator.report.sections.budgets import budgets_section
from orchestrator.results.comparisons import Result, ScoredSystem


def result(budget: int, ours: float, own: float, target: str = "sw") -> Result:
    """`ours` and `own` are means of two seeds that lie one point apart from them; the proxy has 30 whatever the budget."""
    planned = (
        ("own", "own adapter", "own", own, f"own-{budget}"),
        ("proxy", "English adapter", "baseline", 30.0, "proxy"),
        ("arithmetic", "LA(t, en)", "arithmetic", ours, f"ours-{budget}"),
    )
    systems = tuple(
        ScoredSystem(
            name,
            label,
            role,
            (),
            () if math.isnan(mean) else ((1, mean - 1), (2, mean + 1)),
            mean,
            math.sqrt(2),
            math.nan,
        )
        for name, label, role, mean, _ in planned
    )
    comparison = Comparison(
        name=f"budgets: {budget:,} tokens", kind="mixture", section="budgets", method="la", budget=budget, target=target,
        task="ner", task_kind="ner", metric="f1", mode="max", seeds=(1, 2), search="search/x",
        systems=tuple(System(name, label, role, (), {1: key}) for name, label, role, _, key in planned),
    )  # fmt: skip
    return Result(comparison, "Swahili", systems, None, "", (), None)


def test_lines_are_what_depends_on_the_budget_and_the_rest_is_dashed() -> None:
    section = budgets_section([result(5000, 44.0, 41.0), result(200, 35.0, 20.0), result(1000, 40.0, 33.0)])
    assert section is not None and section.title == "Token budgets"
    gallery = section.blocks[1]
    assert isinstance(gallery, Gallery)
    assert gallery.legend == (
        ("own adapter", "own", "line"), ("English adapter", "proxy-1", "dashed"), ("LA(t, en)", "arithmetic", "line"),
    )  # fmt: skip
    (figure,) = gallery.figures
    panel = figure.panel
    assert isinstance(panel, BudgetPanel)
    own, ours = panel.curves
    assert own.xs == ours.xs == (200.0, 1000.0, 5000.0)
    assert (own.ys, ours.ys) == ((20.0, 33.0, 41.0), (35.0, 40.0, 44.0))
    assert ours.deviation == (math.sqrt(2),) * 3 and ours.strong and not own.strong
    assert panel.dashed == (("English adapter", 30.0, "proxy-1"),)
    assert "own adapter 20.00 at 200, 33.00 at 1,000, 41.00 at 5,000" in figure.alt


def test_a_budget_that_is_not_scored_yet_is_left_out() -> None:
    section = budgets_section([result(200, 35.0, 20.0), result(1000, math.nan, 33.0), result(5000, 44.0, 41.0)])
    assert section is not None
    gallery = section.blocks[1]
    assert isinstance(gallery, Gallery) and isinstance(gallery.figures[0].panel, BudgetPanel)
    assert [curve.xs for curve in gallery.figures[0].panel.curves] == [(200.0, 1000.0, 5000.0), (200.0, 5000.0)]


def test_one_budget_and_none_need_no_figure() -> None:
    assert budgets_section([]) is None
    assert budgets_section([result(0, 35.0, 20.0), result(0, 36.0, 20.0, "as")]) is None
    assert budgets_section([result(200, 35.0, 20.0), result(1000, 36.0, 20.0, "as")]) is None
