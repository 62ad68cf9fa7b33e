import json

import pytest

from orchestrator.plan.index import index, write_index
from tests.orchestrator.campaign_files import planned


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return planned(tmp_path_factory.mktemp("campaign"))


def test_the_index_is_plain_json_and_names_steps_of_the_plan(plan):
    content = json.loads(json.dumps(index(plan)))
    known = set(content["steps"])
    assert content["steps"] == [step.key for step in plan.steps]
    for comparison in content["comparisons"]:
        assert comparison["search"] in known and set(comparison["merges"].values()) <= known
        for system in comparison["systems"]:
            assert set(system["evaluations"]) == {"1", "2"} and set(system["evaluations"].values()) <= known


def test_comparisons_say_metric_direction_and_related_language(plan):
    by_task = {(c["target"], c["task"]): c for c in index(plan)["comparisons"]}
    assert set(by_task) == {("gl", "ner"), ("gl", "text"), ("es", "ner"), ("es", "text")}
    assert (by_task["gl", "ner"]["metric"], by_task["gl", "ner"]["mode"]) == ("f1", "max")
    assert (by_task["gl", "text"]["metric"], by_task["gl", "text"]["mode"]) == ("mlm_loss", "min")
    (related,) = by_task["gl", "ner"]["related"]["ranking"]
    assert related[0] in ("es", "pt", "fr") and 0 < related[1] < 1
    assert "syntactic" in by_task["gl", "ner"]["related"]["rule"]


def test_every_language_has_its_name(plan):
    languages = index(plan)["languages"]
    assert languages["gl"] == {"name": "Galician", "iso639_3": "glg"} and set(languages) == {
        "en",
        "es",
        "pt",
        "fr",
        "gl",
    }


def test_the_file_is_replaced_as_a_whole(plan, tmp_path):
    for _ in range(2):
        write_index(plan, tmp_path / "toy")
    assert [file.name for file in (tmp_path / "toy").iterdir()] == ["index.json"]
    assert json.loads((tmp_path / "toy" / "index.json").read_text()) == index(plan)
