"""Where distances come from: the campaign says it, and the selection names it."""

from importlib.util import find_spec
from math import isnan

import pytest

from orchestrator.campaign.comparisons import RelatedSection, ZeroShotSection
from orchestrator.plan.related_languages import related_languages
from search_spaces.relatedness.text_distances import TextDistances

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


POOL = ("en", "cs", "ur", "sv", "tr")


def several(targets, pool=POOL, texts=None, **related):
    faults = []
    asked = ZeroShotSection(name="zs", kind="zero-shot", targets=targets, tasks=("ner",), related=related)
    return related_languages(asked, pool, faults, texts), faults


def no_texts(kinds, languages):
    raise AssertionError(f"{kinds} of {languages} are read, and nothing asked for them")


def test_targets_that_lack_a_kind_of_features_get_a_stated_choice():
    """Slovak and Sindhi have no syntactic data, Nynorsk no genetic ones either."""
    found, faults = several(("sk", "sd", "nn", "uk"), by="mixed", texts=no_texts)
    assert not faults
    assert [one.chosen[0].code for one in found.values()] == ["cs", "ur", "sv", "cs"]
    used = {target: [kind for kind, _ in one.chosen[0].by_kind] for target, one in found.items()}
    assert used["sk"] == used["sd"] == ["geographic", "genetic"]
    assert used["nn"] == ["geographic"] and used["uk"] == ["syntactic", "geographic", "genetic"]
    assert not any(one.fallback for one in found.values())


def test_a_target_without_the_wanted_distance_is_chosen_for_by_the_next_one_and_it_is_said():
    found, faults = several(("sk", "uk"), by=("syntactic", "genetic"), texts=no_texts)
    assert not faults and (found["uk"].by, found["uk"].fallback) == ("syntactic", "")
    assert (found["sk"].by, found["sk"].chosen[0].code) == ("genetic", "cs")
    assert found["sk"].fallback == "sk has no distance to any language of the pool by syntactic; chosen by genetic"
    (last,) = several(("sk",), texts=no_texts)[0].values()
    assert last.by == "mixed" and [kind for kind, _ in last.chosen[0].by_kind] == ["geographic", "genetic"]
    (within,) = several(("sk",), within={}, texts=no_texts)[0].values()
    assert within.by == "mixed" and "by syntactic; chosen by mixed" in within.fallback


def counted(**languages):
    def texts(kinds, asked):
        short = {code: f"{code}: there is no text" for code in asked if code not in languages}
        return TextDistances("texts", dict.fromkeys(kinds, languages), dict.fromkeys(kinds, short))

    return texts


def test_a_language_that_uriel_does_not_know_is_compared_by_text():
    texts = counted(tok={"nuq": 1, "neH": 1}, en={"nuq": 1, "the": 1}, cs={"je": 1})
    found, faults = several(("tok",), texts=texts)
    assert not faults and (found["tok"].by, [one.code for one in found["tok"].chosen]) == ("characters", ["en"])
    assert found["tok"].fallback == "tok has no distance to any language of the pool by syntactic; chosen by characters"


def test_a_target_without_enough_text_says_so_and_is_compared_by_the_next_distance():
    found, faults = several(("uk",), by="overlap", texts=counted(cs={"je": 1}))
    assert not faults and found["uk"].by == "mixed"
    assert "by overlap; uk: there is no text; chosen by mixed" in found["uk"].fallback


def test_where_nothing_is_known_the_fault_says_what_to_state():
    _, (fault,) = several(("tok",))
    assert "comparison zs, target tok" in str(fault) and "related: {of: {tok: [...]}}" in str(fault)
    assert "syntactic, mixed, characters" in str(fault)


def test_every_fault_of_kinds_and_pools_is_told(tmp_path):
    (tmp_path / "mine.tsv").write_text(TABLE)
    _, faults = several(("gl",), source=str(tmp_path / "mine.tsv"), by=("genetic+inventory", "featural"))
    assert [fault.got for fault in faults] == ["'genetic'", "'inventory'", "'featural'"]
    _, faults = several(("gl", "uk"), pool=("gl",))
    assert [fault.where for fault in faults] == ["comparison zs, target gl"] and "none but the target" in str(faults[0])
    found, _ = several(("gl", "uk"), pool=("gl",))
    assert [one.code for one in found["uk"].chosen] == ["gl"]  # a pool of one leaves no choice
