"""Where distances come from: the campaign says it, and the selection names it."""

from importlib.util import find_spec
from math import isnan

import pytest

from orchestrator.campaign.comparisons import RelatedSection, ZeroShotSection
from orchestrator.plan.related_languages import related_languages

TABLE = "a\tb\tkind\tdistance\ngl\tpt\tsyntactic\t0.9\ngl\tes\tsyntactic\t0.1\ngl\tes\tgeographic\t0.1\n"


def section(source, **related):
    related = RelatedSection(source=str(source), **related)
    return ZeroShotSection(name="zs", kind="zero-shot", targets=("gl",), tasks=("ner",), related=related)


def chosen(source, pool=("pt", "es"), **related):
    faults = []
    found = related_languages(section(source, **related), pool, faults)
    return found, faults


def test_lang2vecs_features_are_the_default():
    found, faults = chosen("uriel")
    assert not faults
    assert [one.code for one in found["gl"].chosen] == ["pt"]
    assert "lang2vec" in found["gl"].source


def test_a_users_table_decides_and_is_named(tmp_path):
    (tmp_path / "mine.tsv").write_text(TABLE)
    found, faults = chosen(tmp_path / "mine.tsv")
    assert not faults
    assert [(one.code, one.distance) for one in found["gl"].chosen] == [("es", 0.1)]
    assert found["gl"].source.startswith("precomputed table mine.tsv (sha256 ")


def test_bounds_are_held_against_the_users_table_too(tmp_path):
    (tmp_path / "mine.tsv").write_text(TABLE + "gl\tpt\tgeographic\t0.1\n")
    found, _ = chosen(tmp_path / "mine.tsv", within={"syntactic": 0.7, "geographic": 0.3})
    assert [one.code for one in found["gl"].chosen] == ["es"]


def test_a_table_that_is_not_there_is_a_fault_of_the_comparison(tmp_path):
    found, (fault,) = chosen(tmp_path / "none.tsv")
    assert found == {} and "comparison zs: the table of distances does not exist" in str(fault)
    assert str(tmp_path / "none.tsv") in str(fault)


@pytest.mark.skipif(find_spec("urielplus") is not None, reason="urielplus is installed")
def test_a_source_that_is_not_installed_is_a_fault_of_the_comparison():
    _, (fault,) = chosen("urielplus")
    assert "URIEL+ is asked for and not installed" in str(fault)


def test_a_stated_language_is_taken_as_stated_and_said_to_be(tmp_path):
    (tmp_path / "mine.tsv").write_text(TABLE)
    found, faults = chosen(tmp_path / "mine.tsv", of={"gl": ("pt", "ca")})
    assert not faults
    near, unknown = found["gl"].chosen
    assert (near.code, near.distance, unknown.code) == ("pt", 0.9, "ca") and isnan(unknown.distance)
    assert found["gl"].rule == "stated in the campaign"


def test_targets_without_a_stated_language_get_the_nearest():
    related = RelatedSection(of={"ar": ("sw",)})
    both = ZeroShotSection(name="zs", kind="zero-shot", targets=("ar", "gl"), tasks=("ner",), related=related)
    found = related_languages(both, ("pt", "es", "sw"), [])
    assert [one.code for one in found["ar"].chosen] == ["sw"] and [one.code for one in found["gl"].chosen] == ["pt"]
    assert [found[code].rule for code in ("ar", "gl")] == [
        "stated in the campaign",
        "the nearest by syntactic distance",
    ]
