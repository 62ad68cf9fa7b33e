from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file

from orchestrator.plots.panels import HeatPanel
from orchestrator.report.document import MOST_SHOWN, Document, FigureRef, Fold, Gallery, Section, figures, foldable
from orchestrator.report.terminal import results_table
from orchestrator.report.write import ReportPaths, write_report
from orchestrator.results.comparisons import campaign_results
from orchestrator.results.inputs import read_inputs
from orchestrator.results.language_vectors import language_vectors
from tests.orchestrator.synthetic_campaign import CAMPAIGN, Synthetic, copy_workspace, make_workspace

TITLES = (
    "Summary", "Results", "Gains", "Lambda", "Search", "Related languages", "Load the winner", "Language vectors", "Training",
    "Where the time went", "Reuse and cost", "Provenance",
)  # fmt: skip
VOID = {"meta", "br", "img", "link", "input", "hr"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    return make_workspace(tmp_path_factory.mktemp("report") / "workspace")


@pytest.fixture(scope="module")
def paths(made: Synthetic) -> ReportPaths:
    return write_report(made.workspace, CAMPAIGN)


class _Balance(HTMLParser):
    """Raises on a closing tag that does not match; collects what a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "data", "poster") and value and not value.startswith("#"):
                self.loaded.append(value)
            if name == "id" and value:
                self.ids.append(value)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _parsed(page: str) -> _Balance:
    parser = _Balance()
    parser.feed(page)
    assert parser.open == []
    return parser


def test_the_page_is_well_formed_and_loads_nothing_from_elsewhere(paths: ReportPaths) -> None:
    page = paths.html.read_text()
    parser = _parsed(page)
    assert all(address.startswith("data:") for address in parser.loaded)
    assert len(parser.ids) == len(set(parser.ids)), "ids of inline figures must not collide"
    assert page.count("<script") == 1 and "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert "prefers-color-scheme:dark" in page


def test_every_section_stands_in_the_page_and_in_the_markdown(paths: ReportPaths) -> None:
    page, text = paths.html.read_text(), paths.markdown.read_text()
    for title in TITLES:
        assert f"<h2>{title}</h2>" in page
        assert f"## {title}\n" in text


def test_the_markdown_shows_every_figure_and_every_figure_is_there(paths: ReportPaths) -> None:
    linked = re.findall(r'<img src="figures/([^"]+)"', paths.markdown.read_text())
    assert sorted(linked) == sorted(file.name for file in paths.figures)
    for file in paths.figures:
        assert ElementTree.fromstring(file.read_text()).tag == "{http://www.w3.org/2000/svg}svg"


def test_the_best_system_of_each_row_is_bold(made: Synthetic, paths: ReportPaths) -> None:
    results = campaign_results(read_inputs(made.workspace, CAMPAIGN))
    assert paths.html.read_text().count('<span class="best">') == len(results)


def test_gains_inside_their_interval_are_shown_as_such(made: Synthetic, paths: ReportPaths) -> None:
    results = campaign_results(read_inputs(made.workspace, CAMPAIGN))
    unsure = [gain for result in results for gain in result.gains if not gain.excludes_zero and gain.role != "fixed"]
    assert unsure, "the made-up numbers must hold an uncertain gain"
    page = paths.html.read_text()
    table = page[page.index("<h2>Results</h2>") : page.index("<h2>Gains</h2>")]
    assert table.count('<span class="unsure">≈') == len(unsure)


def test_a_second_report_is_the_same_and_needs_no_matplotlib(made: Synthetic, paths: ReportPaths) -> None:
    before = {file: file.read_bytes() for file in (paths.html, paths.markdown, *paths.figures)}
    script = (
        "import sys; from pathlib import Path; from orchestrator.report.write import write_report\n"
        f"write_report(Path({str(made.workspace)!r}), {CAMPAIGN!r})\n"
        "assert not {'matplotlib', 'torch', 'ray', 'mlflow'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert {file: file.read_bytes() for file in before} == before


def test_a_changed_or_damaged_figure_is_drawn_again(made: Synthetic, paths: ReportPaths) -> None:
    file, *_ = paths.figures
    whole = file.read_text()
    file.write_text("<svg/>")
    (file.parent / "left-over.svg").write_text("<svg/>")
    write_report(made.workspace, CAMPAIGN)
    assert file.read_text() == whole
    assert not (file.parent / "left-over.svg").exists()


def test_reuse_and_execution_are_counted_by_job(made: Synthetic, paths: ReportPaths) -> None:
    rows = {
        line.split(" | ")[0].removeprefix("| "): [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in paths.markdown.read_text().split("## Reuse and cost")[1].splitlines()
        if line.startswith("| ")
    }
    adapters = sum(key.startswith("language-adapter/") for key in made.steps)
    assert rows["language-adapter"][1:5] == [str(adapters), str(adapters), "0", str(adapters)]
    searches = sum(key.startswith("search/") for key in made.steps)
    assert rows["search"][1:5] == [str(searches), str(searches), str(searches), "0"]


def test_the_command_to_repeat_is_quoted_for_a_shell(paths: ReportPaths) -> None:
    assert "adapterfleet run 'campaigns/quick start.yaml'" in paths.markdown.read_text()


def test_a_half_finished_campaign_says_what_is_missing_and_why(tmp_path: Path) -> None:
    without = ("language-adapter/fr", "search/ca-mlm", "evaluation/mr-ner", "merge/uk")
    made = make_workspace(tmp_path / "w", without=without)
    paths = write_report(tmp_path / "w", CAMPAIGN)
    page, text = paths.html.read_text(), paths.markdown.read_text()
    _parsed(page)
    missing = [key for key in made.steps if key not in made.records]
    assert f"{len(missing)} of {len(made.steps)} steps missing" in page
    assert all(key in page and key in text for key in missing)
    assert "no text of &lt;fr&gt; | row 3" in page, "text from records must be escaped"
    assert "no text of &lt;fr> \\| row 3" in text


def test_a_campaign_without_any_finished_step_has_a_report(tmp_path: Path) -> None:
    made = make_workspace(tmp_path / "w", without=("",))
    paths = write_report(tmp_path / "w", CAMPAIGN)
    _parsed(paths.html.read_text())
    assert f"0 of {len(made.steps)} steps are done" in paths.markdown.read_text()


def test_a_campaign_without_comparisons_has_a_report(made: Synthetic, paths: ReportPaths, tmp_path: Path) -> None:
    copy_workspace(made, tmp_path / "w")
    file = tmp_path / "w" / "campaigns" / CAMPAIGN / "index.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "comparisons": []}))
    page = write_report(tmp_path / "w", CAMPAIGN).html.read_text()
    assert "<h2>Training</h2>" in page and "<h2>Results</h2>" not in page


def test_names_from_an_index_place_no_figures_elsewhere_and_no_html(
    made: Synthetic, paths: ReportPaths, tmp_path: Path
) -> None:
    copy_workspace(made, tmp_path / "w")
    file = tmp_path / "w" / "campaigns" / CAMPAIGN / "index.json"
    index = json.loads(file.read_text())
    index["comparisons"][0] |= {"name": "../../../escape", "task": "<script>alert(1)</script>"}
    file.write_text(json.dumps(index))
    paths = write_report(tmp_path / "w", CAMPAIGN)
    assert {figure.parent for figure in paths.figures} == {paths.html.parent / "figures"}
    assert "<script>alert" not in paths.html.read_text()
    assert not list(tmp_path.rglob("*escape.svg")) or all(
        figure.parent == paths.html.parent / "figures" for figure in tmp_path.rglob("*escape*.svg")
    )


def test_cosines_of_language_vectors_agree_with_numpy(made: Synthetic, tmp_path: Path) -> None:
    inputs = read_inputs(made.workspace, CAMPAIGN)
    vectors = language_vectors(inputs, tmp_path / "vectors.json")
    assert vectors is not None
    base = load_file(made.store.path(made.theta.key) / "adapter.safetensors")
    taus = []
    for code in vectors.languages:
        adapter = load_file(made.store.path(made.language(code, vectors.seed).key) / "adapter.safetensors")
        taus.append(
            np.concatenate(
                [(adapter[name.replace("theta_pre", code)] - base[name]).ravel() for name in sorted(base)]
            ).astype(np.float64)
        )
    matrix = np.stack(taus)
    norms = np.linalg.norm(matrix, axis=1)
    assert np.allclose(vectors.cosine, matrix @ matrix.T / np.outer(norms, norms), atol=1e-5)
    rms = norms / np.sqrt(matrix.shape[1])
    assert np.allclose(vectors.near_zero, (np.abs(matrix) < 0.1 * rms[:, None]).mean(axis=1), atol=1e-5)
    inside = np.array(vectors.density).sum(axis=1) * (vectors.edges[1] - vectors.edges[0])
    assert np.allclose(inside + np.array(vectors.beyond), 1, atol=1e-3)
    assert language_vectors(inputs, tmp_path / "vectors.json") == vectors, "the kept result must be read back equal"


def test_an_adapter_with_other_tensors_is_reported_and_the_report_goes_on(
    made: Synthetic, paths: ReportPaths, tmp_path: Path
) -> None:
    workspace = copy_workspace(made, tmp_path / "w")
    key = next(key for key in made.records if key.startswith("language-adapter/en-s42"))
    (workspace / "artifacts" / key / "adapter.safetensors").write_bytes(b"not safetensors")
    (workspace / "campaigns" / CAMPAIGN / "report" / "vectors.json").unlink()
    page = write_report(tmp_path / "w", CAMPAIGN).html.read_text()
    assert "They cannot be read" in page and "<h2>Training</h2>" in page


def test_the_terminal_table_holds_every_comparison_with_its_interval(made: Synthetic) -> None:
    results = campaign_results(read_inputs(made.workspace, CAMPAIGN))
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    named = [dataclasses.replace(results[0], target_name="[red]Galician"), *results[1:]]
    console.print(results_table(named))
    text = console.export_text()
    for result in results:
        assert result.target_name in text
    assert "[red]Galician" in text, "a name is no markup"
    assert re.search(r"\[[+−]\d+\.\d\d, [+−]\d+\.\d\d\]", text)


def test_more_figures_than_fit_a_page_are_folded_away_and_none_is_lost() -> None:
    panel = HeatPanel("", ("a", "b"), ((1.0, 0.5), (0.5, 1.0)))
    many = tuple(FigureRef(f"f{i}", panel, "") for i in range(MOST_SHOWN + 3))
    blocks = foldable(Gallery(many))
    assert [type(block) for block in blocks] == [Gallery, Fold]
    assert figures(Document("", "", "", (Section("", blocks),))) == list(many)
    assert foldable(Gallery(many[:MOST_SHOWN])) == (Gallery(many[:MOST_SHOWN]),)
