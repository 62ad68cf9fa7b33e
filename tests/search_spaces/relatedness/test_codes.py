import pytest
from babel.core import get_global
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import InputError
from search_spaces.relatedness.codes import (
    PREDOMINANT,
    in_any_spelling,
    language_warnings,
    refuse_repeats,
    resolve_language,
    resolve_languages,
)


@pytest.mark.parametrize(
    ("code", "iso3"),
    [
        ("gl", "glg"),
        ("glg", "glg"),
        ("zh", "cmn"),
        ("zho", "cmn"),
        ("chi", "cmn"),
        ("cmn", "cmn"),
        ("sw", "swh"),
        ("ar", "arb"),
        ("fa", "pes"),
        ("ms", "zsm"),
        ("et", "ekk"),
        ("lv", "lvs"),
        ("ne", "npi"),
        ("no", "nob"),
        ("nb", "nob"),
        ("nn", "nno"),
        ("fil", "fil"),
        ("tl", "tgl"),
        ("iw", "heb"),
        ("PT-br", "por"),
        ("zh_Hans_CN", "cmn"),
        ("yue", "yue"),
    ],
)
def test_a_code_of_any_standard_names_one_individual_language(code, iso3):
    assert resolve_language(code).iso3 == iso3


@pytest.mark.parametrize(("code", "macro"), [("zh", "zho"), ("et", "est"), ("sw", "swa")])
def test_a_macro_language_is_mapped_with_a_warning_that_names_both(code, macro):
    language = resolve_language(code)
    assert language.macro == macro
    assert len(language.warnings) == 1
    assert code in language.warnings[0]
    assert language.iso3 in language.warnings[0]


def test_an_individual_code_gives_no_warning():
    assert resolve_language("cmn").warnings == ()
    assert resolve_language("gl").warnings == ()


def test_a_withdrawn_code_is_taken_with_a_warning():
    assert resolve_language("iw").warnings == ("iw is a withdrawn code: taken as he",)


def test_script_and_territory_are_kept_and_normalised():
    assert resolve_language("ZH-hant-tw").subtags == ("Hant", "TW")
    assert resolve_language("es_419").subtags == ("419",)


def test_the_cldr_code_is_the_one_under_which_cldr_files_the_language():
    cldr = {code: resolve_language(code).cldr for code in ("cmn", "swh", "glg", "nor", "fil", "yue", "gom")}
    assert cldr == {
        "cmn": "zh",
        "swh": "sw",
        "glg": "gl",
        "nor": "nb",
        "fil": "fil",
        "yue": "yue",
        "gom": "kok",
    }


def test_names_are_the_english_names_of_cldr():
    assert resolve_language("gl").name == "Galician"
    assert resolve_language("el").name == "Greek"


def test_the_map_of_macro_languages_agrees_with_cldr_where_cldr_names_one():
    """Independent reference: CLDR's aliases say which individual code stands for a macro-language's code."""
    aliases = get_global("language_aliases")
    chosen_by_hand = {"aka", "ara", "hbs", "jrb", "mon", "nor", "sqi", "man", "doi", "zap"}
    compared = 0
    for macro, individual in PREDOMINANT.items():
        cldr = aliases.get(individual)
        if macro not in chosen_by_hand and cldr is not None:
            assert cldr == aliases.get(macro, macro), (macro, individual)
            compared += 1
    assert compared > 45


def test_no_individual_language_stands_for_two_macro_languages():
    assert len(set(PREDOMINANT.values())) == len(PREDOMINANT)
    assert not set(PREDOMINANT) & set(PREDOMINANT.values())


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("jp", "ja (Japanese)"),
        ("cz", "cs (Czech)"),
        ("galician", "gl (Galician)"),
        ("galacian", "gl (Galician)"),
        ("portug", "pt (Portuguese)"),
        ("glq", "glg (Galician)"),
        ("engg", "eng (English)"),
        ("be-tarask", "be (Belarusian)"),
        ("zh-classical", "zh (Chinese)"),
    ],
)
def test_an_unknown_code_is_refused_with_a_suggestion(typed, meant):
    with pytest.raises(InputError, match="unknown language code") as caught:
        resolve_language(typed)
    assert meant in caught.value.faults[0].todo


@pytest.mark.parametrize("typed", ["", "xx", "../etc", "en us", "e", "english-us-x", "日本"])
def test_what_is_no_code_at_all_is_refused(typed):
    with pytest.raises(InputError, match="unknown language code"):
        resolve_language(typed)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("sv", "swe_Latn", True),
        ("zh", "zh_Hans", True),
        ("zh_Hans", "zh_Hant", False),
        ("zh_TW", "zh_Hant_TW", True),
        ("sr", "sr_Cyrl", True),
        ("sr", "sr_Latn", False),
        ("hi", "hin_Deva", True),
        ("pt", "pt_BR", False),
        ("ace", "ace_Arab", False),
    ],
)
def test_a_script_counts_where_it_is_not_the_usual_one(one, other, same):
    assert (resolve_language(one).key == resolve_language(other).key) == same


def test_names_tell_scripts_and_territories_apart():
    names = {code: resolve_language(code).full_name for code in ("zh-Hans", "zh-Hant", "pt_BR", "gl", "es_419")}
    assert names == {
        "zh-Hans": "Chinese (Simplified)",
        "zh-Hant": "Chinese (Traditional)",
        "pt_BR": "Portuguese (Brazil)",
        "gl": "Galician",
        "es_419": "Spanish (Latin America)",
    }


def test_values_are_found_by_any_spelling_the_own_one_first():
    assert in_any_spelling({"spa": 1, "gl": 2}, "es") == 1
    assert in_any_spelling({"spa": 1, "es": 2}, "es") == 2
    assert in_any_spelling({"spa": 1}, "gl") is None


def test_all_unknown_codes_are_reported_at_once():
    with pytest.raises(InputError) as caught:
        resolve_languages(["gl", "jp", "xx", "pt"])
    assert [fault.got for fault in caught.value.faults] == ["'jp'", "'xx'"]


def test_a_repeated_code_is_refused():
    with pytest.raises(InputError, match=r"listed twice \(got pt\)"):
        refuse_repeats(["pt", "es", "pt"])


def test_warnings_of_several_languages_are_listed_once_each():
    assert len(language_warnings(resolve_languages(["zh", "zh", "gl", "sw"]))) == 2


@settings(deadline=None)
@given(st.sampled_from(sorted(PREDOMINANT)), st.sampled_from(["", "_Latn", "-US", "_Cyrl_419"]))
def test_resolving_is_idempotent(code, tail):
    language = resolve_language(code + tail)
    assert resolve_language(language.iso3).iso3 == language.iso3
    assert resolve_language("_".join(language.key)).key == language.key
