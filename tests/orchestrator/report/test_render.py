from __future__ import annotations

import base64
import hashlib
import re

import pytest
from jinja2 import UndefinedError

from orchestrator.plots.panels import HeatPanel
from orchestrator.report.document import (
    Cell,
    Code,
    Column,
    Document,
    Facts,
    FigureRef,
    Fold,
    Gallery,
    Paragraph,
    Section,
    Table,
    Tiles,
)
from orchestrator.report.render import markdown, page

EVIL = "<script>\"'&|"
HEAT = HeatPanel("", ("a", "b"), ((1.0, 0.5), (0.5, 1.0)))
BLOCKS = (
    Paragraph(EVIL, "alarm"),
    Tiles(((EVIL, EVIL),)),
    Table(EVIL, (Column(EVIL), Column(EVIL)), ((Cell(EVIL, EVIL, "best", True, EVIL), Cell(EVIL)),), (Cell(EVIL),) * 2),
    Facts(((EVIL, "value"),)),
    Gallery((FigureRef("figure", HEAT, EVIL),), ((EVIL, "own", "dot"),)),
    Fold(EVIL, (Paragraph(EVIL),)),
)


def test_text_of_every_block_is_escaped() -> None:
    document = Document(EVIL, EVIL, EVIL, (Section(EVIL, BLOCKS), Section(EVIL, ())))
    written = page(document, {"figure": "<svg></svg>"})
    assert written.count("<script") == 1 and "&lt;script&gt;" in written, "the page's own, at its end"
    assert "<svg></svg>" in written, "figures are no text"
    text = markdown(Document("", "", "", (Section("", BLOCKS),)), "figures")
    assert "<script" not in text and '"figures/figure.svg"' in text
    assert "&lt;script>\"'&amp;\\|" in text, "a | would break the table"


def test_code_is_literal_and_cannot_close_its_block() -> None:
    code = "```\n  <b>\n````"
    document = Document("", "", "", (Section("", (Code("python", code),)),))
    assert "```\n  &lt;b&gt;\n````</code>" in page(document, {})
    assert f"`````python\n{code}\n`````\n" in markdown(document, "figures")


def test_backticks_and_stars_are_the_only_markup() -> None:
    document = Document("", "", "", (Section("", (Paragraph("`a<b` **c**"),)),))
    assert '<p class="plain"><code>a&lt;b</code> <strong>c</strong></p>' in page(document, {})
    assert "`a&lt;b` **c**" in markdown(document, "figures")


def test_titles_stand_over_their_numbers() -> None:
    """Flush right, as the cells below them, also in a first column and in the total."""
    columns = (Column("Seed"), Column("Language", numeric=False), Column("Score", colour="own"), Column("F1"))
    rows = (tuple(map(Cell, ("42", "Galician", "1.5", "0.3"))), tuple(map(Cell, ("51", "Catalan", "10", "-1"))))
    table = Table("", columns, rows, tuple(map(Cell, ("2", "", "11.5", "-0.7"))))
    written = page(Document("", "", "", (Section("", (table,)),)), {})
    lines = re.findall(r"<tr>(.*?)</tr>", written, re.DOTALL)
    right = [[' class="n"' in cell for cell in re.findall(r"<t[hd]\b([^>]*)>", line)] for line in lines]
    assert right == [[True, False, True, True]] * 4
    (rule,) = re.findall(r"^th\.n, td\.n \{([^}]*)\}", written, re.MULTILINE)
    assert "text-align: right" in rule
    text = markdown(Document("", "", "", (Section("", (table,)),)), "figures")
    assert "|--:|:--|--:|--:|" in text


def test_the_page_runs_its_own_script_alone_and_shows_every_row_without_it() -> None:
    rows = tuple((Cell(f"language {number}"), Cell(str(number))) for number in range(200))
    written = page(Document("", "", "", (Section("", (Table("", (Column("a"), Column("b", True)), rows),)),)), {})
    (policy,) = re.findall(r"script-src ([^;]+);", written)
    (script,) = re.findall(r"<script>(.*?)</script>", written, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"'sha256-{digest}'" and "default-src 'none'" in written
    plain = written.replace(script, "")
    assert all(f"language {number}<" in plain for number in range(200)) and "hidden" not in plain.split("<body>")[1]


@pytest.mark.parametrize("render", [page, markdown])
def test_nothing_is_left_out_in_silence(render) -> None:
    unknown = Document("", "", "", (Section("", ("no block",)),))  # type: ignore[arg-type]
    with pytest.raises(UndefinedError):
        render(unknown, {})
    with pytest.raises(ValueError, match="zip"):
        page(Document("", "", "", (Section("", (Table("", (Column("a"),), ((Cell("b"), Cell("c")),)),)),)), {})
