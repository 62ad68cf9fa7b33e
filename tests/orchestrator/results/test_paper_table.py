import math

import pytest

from orchestrator.campaign.published import Published
from orchestrator.report.document import Cell, Document, Paragraph, Section, Table
from orchestrator.report.render import markdown
from orchestrator.report.sections.papers import published_blocks, published_table
from orchestrator.results.paper_table import PaperCell, paper_table

WHOLE = {
    "id": "paper/table-1", "paper": "A Paper", "arxiv": "2311.09344", "table": "Table 1", "title": "Summaries",
    "metric": "ROUGE-2", "backbone": "PaLM 2-S", "columns": ("mr", "zh"), "decimals": 1,
    "rows": (
        {"system": "task-adapter", "label": "Task adapter (En)", "values": {"mr": 20.5, "zh": 23.9}, "average": 22.2},
        {"system": "add", "label": "Add", "values": {"mr": 20.6}, "average": 20.6},
    ),
}  # fmt: skip
GAINS = {
    "headlines": (
        {"system": "add", "over": "task-adapter", "statistic": "largest", "gain": (3.1,), "scope": "NER"},
        {"system": "add", "over": "task-adapter", "statistic": "mean", "gain": (1.0,), "scope": "NER"},
        {"system": "add", "over": "task-adapter", "statistic": "relative", "gain": (31.1,), "scope": "all"},
        {"system": "add", "over": "task-adapter", "statistic": "range", "gain": (1.4, 3.4), "scope": "all"},
        {"system": "add", "over": "mad-x", "statistic": "mean", "gain": (8.0,), "scope": "all"},
    )
}
OURS = {"task-adapter": {"mr": 21.0, "zh": 24.0}, "add": {"mr": 22.5, "zh": 25.0}}


def published(**changes):
    return Published.model_validate({**WHOLE, **changes})


def cells(table, key):
    return next(row for row in table.rows if row.key == key)


def test_ours_and_the_published_number_stand_in_one_place():
    table = paper_table(published(), OURS, comparable=True)
    row = cells(table, "task-adapter")
    assert row.label == "Task adapter (En)"
    assert row.cells == (PaperCell(21.0, 20.5), PaperCell(24.0, 23.9))
    assert row.average == PaperCell(22.5, 22.2)
    assert table.difference(row.cells[0]) == 0.5


def test_languages_meet_whatever_code_each_side_writes():
    table = paper_table(published(), {"add": {"mar": 1.0, "cmn": 2.0}}, comparable=True)
    assert [cell.ours for cell in cells(table, "add").cells] == [1.0, 2.0]
    assert table.left_out == ()


def test_our_average_is_over_the_columns_the_row_fills_and_only_when_we_have_them_all():
    table = paper_table(published(), {**OURS, "task-adapter": {"mr": 21.0}}, comparable=True)
    assert cells(table, "task-adapter").average == PaperCell(None, 22.2)
    assert cells(table, "add").average == PaperCell(22.5, 20.6)


def test_what_only_one_side_has_is_shown_as_that():
    table = paper_table(published(), {"no-adapter": {"mr": 3.0, "de": 9.0}}, comparable=True)
    assert [row.key for row in table.rows] == ["task-adapter", "add", "no-adapter"]
    assert cells(table, "add").cells == (PaperCell(None, 20.6), PaperCell(None, None))
    assert cells(table, "no-adapter").cells == (PaperCell(3.0, None), PaperCell(None, None))
    assert cells(table, "no-adapter").average == PaperCell(None, None)
    assert not cells(table, "no-adapter").in_paper
    assert cells(table, "no-adapter").label == "No adapter"
    assert table.left_out == ("de",)


def test_variants_are_rows_of_their_own():
    rows = (
        {"system": "add", "variant": "lora", "label": "LoRA", "values": {"mr": 1.0}},
        {"system": "add", "variant": "kronecker", "label": "Kronecker", "values": {"mr": 2.0}},
    )
    table = paper_table(published(rows=rows), {"add/kronecker": {"mr": 5.0}, "best/lora": {"mr": 6.0}}, comparable=True)
    assert [(row.label, row.cells[0].ours) for row in table.rows] == [
        ("LoRA", None), ("Kronecker", 5.0), ("Best single source (lora)", 6.0),
    ]  # fmt: skip


def test_a_task_is_no_language():
    table = paper_table(
        published(columns_are="tasks", columns=("tydiqa",), rows=({"system": "add", "label": "A", "values": {}},)),
        {"add": {"tydiqa": 80.0}},
        comparable=True,
    )
    assert table.rows[0].cells == (PaperCell(80.0, None),)


def test_stated_gains_stand_beside_ours_of_the_same_kind():
    table = paper_table(published(rows=(), columns=(), **GAINS), OURS, comparable=True)
    largest, mean, relative, stated_range, unknown = (gain.ours for gain in table.gains)
    assert largest == (1.5,)
    assert mean == (1.25,)
    assert relative == pytest.approx((100 * (23.75 / 22.5 - 1),))
    assert stated_range == ()
    assert unknown == ()
    assert table.rows == table.left_out == ()


def test_a_range_is_that_of_the_tasks_mean_gains():
    by_task = {
        "copa": OURS,
        "qa": {"task-adapter": {"mr": 10.0, "zh": 20.0}, "add": {"mr": 14.0, "zh": 22.0}},
        "nli": {"task-adapter": {"mr": 10.0}, "add": {"zh": 12.0}},
    }

    def stated(**changes):
        (headline,) = (one for one in GAINS["headlines"] if one["statistic"] == "range")
        table = paper_table(published(headlines=({**headline, **changes},)), OURS, comparable=True, by_task=by_task)
        return table.gains[0].ours, published_blocks(table)[2].rows[0][2].text

    assert stated() == ((1.25, 3.0), "+1.2 to +3.0")
    assert stated(tasks=("qa", "copa")) == ((1.25, 3.0), "+1.2 to +3.0")
    for without in (("qa",), ("qa", "nli"), ("qa", "maths")):
        assert stated(tasks=without) == ((), "–")


def test_gains_are_taken_over_the_languages_that_both_systems_have():
    ours = {"task-adapter": {"mr": 21.0, "de": 50.0}, "add": {"mr": 22.0, "zh": 99.0}}
    assert paper_table(published(**GAINS), ours, comparable=True).gains[0].ours == (1.0,)
    assert paper_table(published(**GAINS), {"add": {"mr": 1.0}}, comparable=True).gains[0].ours == ()
    nothing = {"task-adapter": {"mr": 0.0}, "add": {"mr": 1.0}}
    assert paper_table(published(**GAINS), nothing, comparable=True).gains[2].ours == ()


def test_the_report_shows_a_difference_where_the_two_can_be_compared():
    block = published_table(paper_table(published(), OURS, comparable=True))
    assert [column.title for column in block.columns] == ["System", "mr", "zh", "Average"]
    assert block.rows[1] == (
        Cell("Add"), Cell("22.5", "paper 20.6 (+1.9)"), Cell("25.0"), Cell("22.5", "paper 20.6 (+1.9)"),
    )  # fmt: skip
    assert "not comparable" not in block.caption


def test_with_another_backbone_both_numbers_stand_and_no_difference():
    table = paper_table(published(**GAINS), OURS, comparable=False)
    assert table.difference(table.rows[0].cells[0]) is None
    introduction, scores, gains, *_ = published_blocks(table)
    assert isinstance(introduction, Paragraph)
    assert "**Not comparable**" in introduction.text
    assert "PaLM 2-S" in introduction.text
    assert isinstance(scores, Table)
    assert scores.caption.endswith("not comparable)")
    assert scores.rows[0][1] == Cell("21.0", "paper 20.5")
    assert isinstance(gains, Table)
    assert [row[2].text for row in gains.rows] == ["+1.5", "+1.2", "+5.6", "–", "–"]
    assert gains.rows[3][3].text == "+1.4 to +3.4"
    assert gains.caption.endswith("not comparable)")


def test_a_table_of_gains_is_signed_throughout():
    rows = ({"system": "add-subtract", "variant": "ar", "label": "Arabic", "values": {"mr": 0.3, "zh": -0.2}},)
    table = paper_table(published(quantity="gain", rows=rows), {"add-subtract/ar": {"mr": -0.1}}, comparable=True)
    assert published_table(table).rows[0][1:3] == (Cell("−0.1", "paper +0.3 (−0.4)"), Cell("–", "paper −0.2"))


def test_what_is_missing_and_what_is_only_said_reach_the_page():
    table = paper_table(
        published(findings=("TIES stays below.",), missing=("The curves.",), notes=("A note.",)),
        {"add": {"de": 1.0}},
        comparable=True,
    )
    text = markdown(Document("T", "", "", (Section("Paper", published_blocks(table)),)), "figures")
    for expected in ("TIES stays below.", "Not recovered: The curves.", "A note.", "not in the paper's table: de."):
        assert expected in text
    assert "arXiv 2311.09344" in text


def test_a_score_that_is_not_a_number_is_shown_as_missing():
    table = paper_table(published(), {"add": {"mr": math.nan}}, comparable=True)
    assert published_table(table).rows[1][1] == Cell("–", "paper 20.6")
    assert cells(table, "add").average == PaperCell(None, 20.6)
