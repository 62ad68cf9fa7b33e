import hashlib
from pathlib import Path

import pytest
from babel.dates import format_date
from hypothesis import given
from hypothesis import strategies as st

from jobs.data import cldr
from jobs.data.cldr_templates import usable_keys
from jobs.data.cldr_vocabulary import coverage, private_locale, vocabulary
from jobs.errors import InputError

SAMPLE = ("en", "gl", "uk", "mr", "zh", "th", "he", "agq")


def test_at_least_150_languages_are_covered_best_first() -> None:
    codes = cldr.covered_languages()
    assert len(codes) >= 150
    assert len(set(codes)) == len(codes)
    counts = [coverage()[code] for code in codes]
    assert counts == sorted(counts, reverse=True)
    assert {"en", "es", "gl", "ca", "uk", "mr", "hi", "zh", "sw", "as"} <= set(codes)


@pytest.mark.parametrize("language", SAMPLE)
def test_splits_have_their_sizes_and_share_no_line(language: str) -> None:
    train, validation, test = (cldr.corpus(language, split) for split in cldr.SPLITS)
    assert len(train) >= 3000
    assert len(validation) == len(test) == cldr.HELD_OUT_LINES
    assert not set(train) & set(validation) and not set(train) & set(test) and not set(validation) & set(test)


def test_held_out_lines_stand_in_the_training_text_of_no_language() -> None:
    held_out = {x for code in SAMPLE for x in cldr.corpus(code, "validation") + cldr.corpus(code, "test")}
    train = {x for code in SAMPLE for x in cldr.corpus(code, "train")}
    assert not held_out & train


def test_no_parallel_text_is_held_out_text() -> None:
    held_out = {x for code in ("en", "fr") for x in cldr.corpus(code, "validation") + cldr.corpus(code, "test")}
    pairs = cldr.parallel("en", "fr")
    assert len(pairs) > 800
    assert not held_out & {side for pair in pairs for side in pair}


def test_parallel_lines_translate_each_other_key_by_key() -> None:
    pairs = dict(cldr.parallel("en", "fr"))
    english, french = vocabulary("en").names, vocabulary("fr").names
    translations = {
        (english[kind][key], french[kind][key])
        for kind in ("territory", "language", "city")
        for key in usable_keys(vocabulary("en"), vocabulary("fr"))[kind]
    }
    listed = [(a, b) for a, b in pairs.items() if cldr.NAME_SEPARATOR in a]
    words = {word for a, b in listed for word in zip(a.split(" · "), b.split(" · "), strict=True)}
    assert translations <= words


def test_lines_are_plain_text_of_the_language() -> None:
    for language in SAMPLE:
        for text in cldr.corpus(language, "train"):
            assert text and text == text.strip()
            assert "{" not in text and "%s" not in text and "\n" not in text and "\u00a0" not in text
    assert any("Ucraína" in text for text in cldr.corpus("gl", "train"))
    assert any("дня" in text or "день" in text for text in cldr.corpus("uk", "train"))


def test_a_released_corpus_never_changes_silently() -> None:
    """Bump cldr.VERSION when this fails on purpose: the revision is part of every artifact's identity."""
    digest = hashlib.sha256()
    for language in ("en", "gl", "th"):
        for split in cldr.SPLITS:
            digest.update("\n".join(cldr.corpus(language, split)).encode())
    digest.update(repr(cldr.parallel("en", "es")).encode())
    assert (cldr.REVISION, digest.hexdigest()[:16]) == ("babel-2.18.0-v1", "4e7d3e353c2c6156")


def test_words_do_not_depend_on_the_languages_used_before() -> None:
    for other in ("gl", "zh", "ar", "th"):
        format_date(locale=other)  # babel's shared data is written to here
    vocabulary.cache_clear()
    locale, _ = private_locale("hi")
    alone = vocabulary("hi").names["month"]["1"]
    assert alone == "जनवरी"
    assert locale.months["stand-alone"]["wide"][1] == "जनवरी"


@pytest.mark.parametrize("language", ["tlh", "", "EN", "nb", "../en", "root"])
def test_an_uncovered_language_is_refused(language: str) -> None:
    with pytest.raises(InputError, match="does not cover"):
        cldr.corpus(language, "train")


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(InputError, match="unknown split"):
        cldr.corpus("en", "dev")


@given(st.text())
def test_every_text_has_exactly_one_use_whatever_its_spaces(text: str) -> None:
    assert cldr.bucket(text) is cldr.bucket(f" {text}\t ") is cldr.bucket(text)


def test_importing_the_corpora_needs_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, jobs.data.cldr, jobs.data.cldr_ner as n; sys.exit('torch' in sys.modules or not n.LABELS)"
    root = Path(__file__).resolve().parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
