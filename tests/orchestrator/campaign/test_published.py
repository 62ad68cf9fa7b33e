import re
from pathlib import Path

import pytest

from jobs.errors import InputError
from orchestrator.campaign.published import SYSTEMS, read_published

ROOT = Path(__file__).parents[3] / "docs" / "published"
TABLE = """
id: paper/table-1
paper: A Paper
arxiv: "2311.09344"
table: Table 1
title: Something
metric: F1
backbone: a model
columns: [mr, zh]
rows:
  - system: add
    label: Add
    values: {mr: 20.5, zh: 30}
    average: 25.25
"""


@pytest.fixture(scope="module")
def papers():
    return {"/".join(file.with_suffix("").parts[-2:]): read_published(file) for file in sorted(ROOT.glob("*/*.yaml"))}


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def read(text):
        file = tmp_path / "paper" / "table-1.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return read_published(file)

    return read


def refusal(read, text):
    with pytest.raises(InputError) as caught:
        read(text)
    return str(caught.value).splitlines()


def test_every_published_table_reads_and_names_its_paper(papers):
    assert len(papers) == len(list(ROOT.glob("*/*.yaml"))) > 10
    papers_by_arxiv = {table.arxiv: table.paper for table in papers.values()}
    assert len(papers_by_arxiv) == 3
    assert all(papers_by_arxiv[table.arxiv] == table.paper for table in papers.values())


def test_the_printed_averages_are_those_of_the_printed_columns(papers):
    compared = 0
    for name, table in papers.items():
        for row in table.rows:
            if row.average is not None:
                mean = sum(row.values.values()) / len(row.values)
                assert abs(mean - row.average) <= 0.1, (name, row.label, mean)
                compared += 1
    assert compared == 17


def test_the_two_places_that_print_the_same_gain_agree(papers):
    scores = {row.system: row.values for row in papers["language-and-task-arithmetic/table-1"].rows}
    gains = {row.variant: row.values for row in papers["language-and-task-arithmetic/figure-2"].rows}["en"]
    for code, gain in gains.items():
        assert scores["add-subtract"][code] - scores["task-adapter"][code] == pytest.approx(gain, abs=1e-9)


def test_averages_repeated_in_another_table_agree(papers):
    first = {row.system: row.average for row in papers["language-and-task-arithmetic/table-1"].rows}
    again = {row.system: row.values["xlsum"] for row in papers["language-and-task-arithmetic/table-4"].rows}
    assert first == again


def test_tables_without_a_gap_are_whole_and_the_grids_lack_their_diagonal(papers):
    for name, table in papers.items():
        for row in table.rows:
            absent = set(table.columns) - set(row.values)
            assert absent == ({row.variant} if name.startswith("language-arithmetic/table-1") else set()), name


def test_the_page_lists_every_table_and_every_system(papers):
    page = (ROOT / "README.md").read_text()
    for name in papers:
        stem = name.split("/")[1]
        assert stem in page or re.fullmatch(r"table-[1-4]", stem), name
    assert all(f"`{system}`" in page for system in SYSTEMS)


def test_numbers_columns_and_systems_are_held_as_written(read):
    table = read(TABLE)
    assert table.rows[0].values == {"mr": 20.5, "zh": 30.0}
    assert table.rows[0].key == "add"
    assert table.source == "A Paper (arXiv 2311.09344), Table 1"
    assert not table.same_backbone("a model")


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (("system: add", "system: ad"), ['paper/table-1.yaml:11: rows[0].system: unknown system; did you mean "add"']),
        (("mr: 20.5", "'mr': '20.5'"), ["paper/table-1.yaml:13: rows[0].values.mr: a number is wanted"]),
        (("mr: 20.5", "mr: .nan"), ["paper/table-1.yaml:13: rows[0].values.mr: a finite number is wanted"]),
        (("metric:", "metrik:"), ["paper/table-1.yaml:2: metric: a required", "paper/table-1.yaml:7: metrik: unknown"]),
        (("{mr: 20.5", "{de: 20.5"), ["paper/table-1.yaml:13: rows[0].values.de: the value has no column"]),
        (("[mr, zh]", "[mr, xyzq, zh]"), ["paper/table-1.yaml:9: columns[1]: "]),
        (("[mr, zh]", "[mr, zh, mr]"), ["paper/table-1.yaml:9: columns[2]: the column is given twice"]),
        (("paper/table-1", "paper/table-2"), ["paper/table-1.yaml:2: id: `id` differs from the file's place"]),
        (
            ('"2311.09344"', '"2311.9"'),
            ["paper/table-1.yaml:4: arxiv: an arXiv number such as 2404.15737 is wanted (got '2311.9')"],
        ),
    ],
)
def test_a_fault_names_its_file_line_and_key(read, change, lines):
    said = refusal(read, TABLE.replace(*change))
    assert len(said) == len(lines)
    for line, expected in zip(sorted(said), lines, strict=True):
        assert line.startswith(expected)


def test_two_rows_of_one_system_need_variants(read):
    twice = TABLE + "  - {system: add, label: Add again, values: {mr: 1}}\n"
    said = refusal(read, twice)
    assert said == [
        "paper/table-1.yaml:15: rows[1].system: the system has a row already (got add); first in row 1; "
        "give a `variant`"
    ]
    table = read(twice.replace("system: add, label", "system: add, variant: lora, label"))
    assert [row.key for row in table.rows] == ["add", "add/lora"]


def test_a_table_of_tasks_needs_no_languages(read):
    tasks = TABLE.replace("[mr, zh]", "[tydiqa, xlsum]").replace("{mr: 20.5, zh: 30}", "{tydiqa: 83.0}")
    assert len(refusal(read, tasks)) == 2
    assert read(tasks.replace("columns:", "columns_are: tasks\ncolumns:")).columns == ("tydiqa", "xlsum")


def test_tasks_of_a_gain_that_is_no_range_are_refused(read):
    gain = "headlines:\n  - {system: add, over: proxy, statistic: mean, gain: [1.4], scope: all, tasks: [qa]}\n"
    assert "`tasks` belong to a range" in refusal(read, TABLE.split("rows:")[0] + gain)[0]


def test_a_file_without_content_and_a_range_with_one_end_are_refused(read):
    empty = TABLE.split("rows:")[0]
    assert "nothing is published here" in refusal(read, empty)[0]
    gain = "headlines:\n  - {system: add, over: proxy, statistic: range, gain: [1.4], scope: all}\n"
    assert "the lowest and the highest" in refusal(read, empty + gain)[0]
    assert read(empty + gain.replace("[1.4]", "[1.4, 3.4]")).headlines[0].gain == (1.4, 3.4)
    assert "a published table is a mapping" in refusal(read, "- 1\n")[0]
