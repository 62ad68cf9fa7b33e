"""Methods of one section side by side, and rows with more baselines than there are colours."""

from __future__ import annotations

import dataclasses
import math

import pytest

from orchestrator.plan.index import Comparison, RelatedChoice, System
from orchestrator.report.document import Gallery, Table
from orchestrator.report.sections.lambda_curves import related_section
from orchestrator.report.sections.results import gains_section, methods_tables, results_section
from orchestrator.results.comparisons import Result, ScoredSystem, campaign_results
from orchestrator.results.inputs import ReportInputs, read_inputs
from tests.orchestrator.synthetic_campaign import CAMPAIGN, make_workspace


def result(target: str, method: str, scores: dict[str, float], name: str = "") -> Result:
    """`scores`: of the baselines by name, and of the method under its own."""
    systems = tuple(
        ScoredSystem(
            "arithmetic" if one == method else one,
            one.upper(),
            "arithmetic" if one == method else "baseline",
            (),
            () if math.isnan(value) else ((1, value),),
            value,
            0.0,
            math.nan,
        )
        for one, value in scores.items()
    )
    comparison = Comparison(
        name=name or f"main: {method}", kind="mixture", section="main", method=method, target=target, task="nli",
        task_kind="classification", metric="accuracy", mode="max", seeds=(1,), search="search/x",
        systems=tuple(System(s.name, s.label, s.role, (), {}) for s in systems),
    )  # fmt: skip
    return Result(comparison, target, systems, None, "", (), None)


def test_every_method_is_a_row_beside_baselines_that_stand_there_once() -> None:
    found = [
        result(target, method, {"none": 30.0 + place, "task": 40.0, method: value})
        for place, target in enumerate(("gl", "es"))
        for method, value in (("adamergex", 41.0), ("arimerge", 39.5))
    ]
    (table,) = methods_tables(found)
    assert [column.title for column in table.columns] == ["System", "gl", "es", "Average", "Best in"]
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert table.caption == "nli: accuracy, main: methods side by side (higher is better)"
    assert rows == {
        "NONE": ["30.00", "31.00", "30.50", "0 of 2"],
        "TASK": ["40.00", "40.00", "40.00", "0 of 2"],
        "ADAMERGEX": ["41.00", "41.00", "41.00", "2 of 2"],
        "ARIMERGE": ["39.50", "39.50", "39.50", "0 of 2"],
    }
    assert [row[0].text for row in table.rows if row[1].mark == "best"] == ["ADAMERGEX"]


def test_an_unfinished_system_has_dashes_and_no_average() -> None:
    found = [
        result("gl", "adamergex", {"none": 30.0, "adamergex": 41.0}),
        result("gl", "arimerge", {"none": 30.0, "arimerge": math.nan}),
    ]
    (table,) = methods_tables(found)
    assert [cell.text for cell in table.rows[-1][1:]] == ["–", "–", "0 of 1"]


def test_budgets_are_columns_of_their_own_and_one_method_needs_no_table() -> None:
    found = [
        result("gl", method, {"none": 30.0, method: 40.0}, f"main: {method}, {budget} tokens")
        for method in ("add", "subtract")
        for budget in ("200", "1,000")
    ]
    (table,) = methods_tables(found)
    assert [column.title for column in table.columns[1:-2]] == ["gl (200 tokens)", "gl (1,000 tokens)"]
    assert methods_tables(found[:2]) == ()


def test_the_best_are_all_that_share_the_best_score_unless_everyone_does() -> None:
    assert result("gl", "add", {"a": 2.0, "b": 1.0, "add": 2.0}).best == {"a", "arithmetic"}
    assert result("gl", "add", {"a": 2.0, "add": 2.0}).best == frozenset()
    falling = result("gl", "add", {"a": 2.0, "add": 1.0})
    losses = dataclasses.replace(falling, comparison=dataclasses.replace(falling.comparison, mode="min"))
    assert losses.best == {"arithmetic"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> ReportInputs:
    return read_inputs(make_workspace(tmp_path_factory.mktemp("results") / "w").workspace, CAMPAIGN)


def test_the_best_of_each_pair_has_its_column_and_its_bar_over_the_own_adapter(inputs) -> None:
    results = campaign_results(inputs)
    tables = [block for block in results_section(inputs, results).blocks if isinstance(block, Table)]
    table = next(one for one in tables if one.caption.startswith("NER F1, enhancement"))
    titles = [column.title for column in table.columns]
    scores = dict(zip(titles, table.rows[0], strict=True))
    for title, pair in (("LA(task language, target)", "pair:en+es"), ("LA(related, target)", "pair:pt+es")):
        (system,) = (s for r in results for s in r.systems if s.name == pair and r.comparison.task == "ner")
        assert scores[title].text == f"{system.mean:.2f}"
    section = gains_section(results)
    assert section is not None
    figures = [figure for block in section.blocks if isinstance(block, Gallery) for figure in block.figures]
    (shown,) = (one.panel for one in figures if one.name == "gain-enhancement-ner-pairs")
    assert [bar.label for bar in shown.bars] == [
        "Spanish, LA(en, es)", "Spanish, LA(pt, es)", "Hindi, LA(en, hi)", "Hindi, LA(fr, hi)",
    ]  # fmt: skip
    first = next(r for r in results if r.comparison.target == "es" and r.comparison.task == "ner")
    means = {system.name: system.mean for system in first.systems}
    assert shown.bars[1].value == pytest.approx(means["pair:pt+es"] - means["own"])
    assert shown.bars[1].low < shown.bars[1].value < shown.bars[1].high


def test_every_proxy_has_a_column_however_many_languages_are_related(inputs) -> None:
    codes = ("en", "es", "pt", "fr", "it", "ca", "ro")
    systems = [
        ScoredSystem(f"proxy:{c}", c, "proxy", (c,), ((1, 3.0 - n),), 3.0 - n, 0.0, 1.0) for n, c in enumerate(codes)
    ]
    systems.append(ScoredSystem("arithmetic", "", "arithmetic", (), ((1, 0.5),), 0.5, 0.0, math.nan))
    comparison = Comparison(
        name="z", kind="zero-shot", section="z", method="", target="gl", task="mlm", task_kind="masked-lm", source="en",
        metric="mlm_loss", mode="min", seeds=(1,), search="search/x",
        systems=tuple(System(s.name, s.label, s.role, s.languages, {}) for s in systems),
    )  # fmt: skip
    inputs = dataclasses.replace(inputs, languages={})
    found = [Result(comparison, "Galician", tuple(systems), None, "proxy:ro", (), None)]
    (table,) = [block for block in results_section(inputs, found).blocks if isinstance(block, Table)]
    titles = [column.title for column in table.columns]
    assert titles[1:8] == [
        "Task language's adapter", "Related language's adapter", "2nd related", "3rd related", "4th related", "5th related",
        "6th related",
    ]  # fmt: skip
    assert [cell.text for cell in table.rows[0][1:8]] == [f"{3.0 - n:.3f}".replace("-", "−") for n in range(7)]
    assert [cell.small for cell in table.rows[0] if cell.chosen] == ["ro"]


def test_the_kinds_that_a_pair_was_compared_by_stand_beside_its_distance(inputs) -> None:
    about = {"by": "mixed", "source": "lang2vec", "notes": ("sk and cs: compared by geographic+genetic",)}
    slovak = RelatedChoice(ranking=(("es", 0.1),), used=({"geographic": 0.05, "genetic": 0.15},), **about)
    stated = RelatedChoice(ranking=(("pt", None),), used=({},), by="mixed")
    found = [result("gl", "add", {"add": 1.0}), result("es", "add", {"add": 1.0})]
    found = [
        dataclasses.replace(one, comparison=dataclasses.replace(one.comparison, related=related))
        for one, related in zip(found, (slovak, stated), strict=True)
    ]
    table, note = related_section(inputs, found).blocks
    assert [row[3].text for row in table.rows] == ["geographic + genetic", "mixed"]
    assert "sk and cs: compared by geographic+genetic." in note.text
