import math
from dataclasses import replace
from pathlib import Path

from orchestrator.campaign.published import read_published
from orchestrator.plan.index import Comparison, RelatedChoice
from orchestrator.report.sections.papers import our_scores
from orchestrator.results.comparisons import Result, ScoredSystem
from orchestrator.results.searches import Gain

TABLES = Path(__file__).parents[4] / "docs" / "published"
COMPARISON = Comparison(
    name="table", kind="mixture", target="gu", task="xlsum", task_kind="generation", metric="rouge2", mode="max",
    seeds=(42,), search="", systems=(), section="table", method="add", source="en",
)  # fmt: skip


def scored(name, role, mean):
    return ScoredSystem(name, name, role, (), ((42, mean),), mean, 0.0, math.nan)


def result(*systems, gains=(), better_proxy="", **changes):
    return Result(replace(COMPARISON, **changes), "", systems, None, better_proxy, gains, None)


def test_methods_and_baselines_stand_in_the_papers_rows():
    published = read_published(TABLES / "language-and-task-arithmetic" / "table-1.yaml")
    results = [
        result(scored("task-adapter", "baseline", 20.0), scored("arithmetic", "arithmetic", 21.0)),
        result(
            scored("task-adapter", "baseline", 20.0), scored("arithmetic", "arithmetic", 22.0), method="add-subtract"
        ),
        result(scored("arithmetic", "arithmetic", 23.0), target="mr"),
    ]
    assert our_scores(published, results) == {
        "task-adapter": {"gu": 20.0},
        "add": {"gu": 21.0, "mr": 23.0},
        "add-subtract": {"gu": 22.0},
    }


def test_a_grid_of_related_languages_has_a_row_for_each_target():
    published = read_published(TABLES / "language-arithmetic" / "table-1-ner.yaml")
    ours = scored("arithmetic", "arithmetic", 70.0)
    results = [
        result(ours, target="es", method="language-arithmetic", related=RelatedChoice(ranking=((code, 0.1),)))
        for code in ("ca", "pt")
    ]
    assert our_scores(published, results) == {"language-arithmetic/es": {"ca": 70.0, "pt": 70.0}}


def test_a_matrix_of_gains_has_a_row_for_each_source_language():
    published = read_published(TABLES / "language-and-task-arithmetic" / "figure-2.yaml")
    gain = Gain("task-adapter", "", "baseline", 0.7, 0.1, 1.2, 1)
    found = our_scores(published, [result(gains=(gain,), method="add-subtract", source="ko", target="uk")])
    assert found == {"add-subtract/ko": {"uk": 0.7}}


def test_of_several_proxies_the_better_one_counts():
    published = read_published(TABLES / "language-arithmetic" / "zero-shot-ner.yaml")
    systems = (
        scored("proxy:en", "proxy", 50.0),
        scored("proxy:es", "proxy", 60.0),
        scored("arithmetic", "arithmetic", 61.0),
    )
    found = our_scores(published, [result(*systems, better_proxy="proxy:es", kind="zero-shot", method="", target="fr")])
    assert found == {"proxy": {"fr": 60.0}, "language-arithmetic": {"fr": 61.0}}


def test_rows_of_a_kind_of_adapter_are_ours_of_that_kind():
    published = read_published(TABLES / "language-and-task-arithmetic" / "table-6.yaml")
    systems = (scored("multilingual", "baseline", 26.0), scored("arithmetic", "arithmetic", 27.0))
    results = [result(*systems, method="task-adapter", target="sw")]
    assert our_scores(published, results, "lora") == {
        "multilingual/lora": {"sw": 26.0},
        "task-adapter/lora": {"sw": 27.0},
    }
    assert set(our_scores(published, results, "kronecker")) == {"multilingual/kronecker", "task-adapter/kronecker"}


def test_the_papers_arimerge_is_the_one_that_negates_b_alone_where_that_was_run():
    published = read_published(TABLES / "adamergex" / "headlines.yaml")

    def of(*methods):
        return [result(scored("arithmetic", "arithmetic", value), method=name) for name, value in methods]

    assert our_scores(published, of(("arimerge", 40.0)))["arimerge"] == {"gu": 40.0}
    both = our_scores(published, of(("arimerge", 40.0), ("linear-negate-b", 30.0)))
    assert both["arimerge"] == {"gu": 30.0} and both["arimerge-of-all-parameters"] == {"gu": 40.0}
