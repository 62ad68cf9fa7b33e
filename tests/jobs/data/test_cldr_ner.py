import hashlib

import pytest

from jobs.data import cldr
from jobs.data.cldr_ner import LABELS, SIZES, TYPES, _characters, _words, sentences, tagged
from jobs.data.cldr_vocabulary import UNSPACED
from jobs.data.sentences import Sentence
from jobs.errors import InputError

SAMPLE = ("en", "gl", "mr", "he", "zh", "ja", "th", "km", "lo", "my")


def spans(sentence: Sentence) -> list[tuple[str, str]]:
    found: list[tuple[str, list[str]]] = []
    for token, tag in zip(sentence.tokens, sentence.tags, strict=True):
        if tag.startswith("B-"):
            found.append((tag[2:], [token]))
        elif tag.startswith("I-"):
            found[-1][1].append(token)
    return [(kind, " ".join(tokens)) for kind, tokens in found]


def well_formed(sentence: Sentence) -> bool:
    before = "O"
    for token, tag in zip(sentence.tokens, sentence.tags, strict=True):
        if not token or token != token.strip() or tag not in LABELS:
            return False
        if tag.startswith("I-") and before[2:] != tag[2:]:
            return False
        before = tag
    return bool(sentence.tokens)


@pytest.mark.parametrize("language", SAMPLE)
def test_splits_have_their_sizes_and_share_no_sentence(language: str) -> None:
    seen: set[tuple[str, ...]] = set()
    for split, size in SIZES.items():
        found = {sentence.tokens for sentence in sentences(language, split)}
        assert len(found) == size
        assert not found & seen
        seen |= found


def test_spans_are_well_formed_in_every_thirtieth_covered_language() -> None:
    for language in {*SAMPLE, *cldr.covered_languages()[::30]}:
        assert all(well_formed(sentence) for split in SIZES for sentence in sentences(language, split)), language


def test_every_type_and_sentences_without_any_entity_occur() -> None:
    for language in SAMPLE:
        test = sentences(language, "test")
        assert {kind for sentence in test for kind, _ in spans(sentence)} == set(TYPES)
        assert any(not spans(sentence) for sentence in test)


def test_no_sentence_stands_in_a_corpus_of_any_language() -> None:
    corpora = {"".join(line.split()) for code in SAMPLE for split in cldr.SPLITS for line in cldr.corpus(code, split)}
    for language in SAMPLE:
        for split in SIZES:
            assert not corpora & {"".join(sentence.tokens) for sentence in sentences(language, split)}


def test_languages_without_spaces_have_single_characters_as_tokens() -> None:
    for language in set(SAMPLE) & UNSPACED:
        for sentence in sentences(language, "test"):
            assert all(len(token.encode("utf-32-le")) // 4 <= 5 for token in sentence.tokens)


def test_gold_spans_are_the_names_themselves() -> None:
    segments = [("Ourense", "CITY"), (" (", ""), ("Illas Caimán", "LOC"), ("), hora de ", ""), ("maio de 1999", "DATE")]
    sentence = tagged(segments, _words)
    assert sentence.tokens == ("Ourense", "(", "Illas", "Caimán", ")", ",", "hora", "de", "maio", "de", "1999")
    assert spans(sentence) == [("CITY", "Ourense"), ("LOC", "Illas Caimán"), ("DATE", "maio de 1999")]
    assert spans(tagged([("東京", "CITY"), ("の時間", "")], _characters)) == [("CITY", "東 京")]


def test_neighbouring_entities_stay_apart() -> None:
    sentence = tagged([("Roma", "CITY"), (" ", ""), ("Oslo", "CITY")], _words)
    assert sentence.tags == ("B-CITY", "B-CITY")


def test_a_city_named_like_a_territory_is_no_gold_city() -> None:
    for sentence in sentences("en", "train"):
        assert ("CITY", "Singapore") not in spans(sentence)


def test_a_released_task_never_changes_silently() -> None:
    """Bump cldr.VERSION when this fails on purpose."""
    told = [
        f"({', '.join(f'Sentence(tokens={one.tokens!r}, tags={one.tags!r})' for one in sentences(code, 'test'))})"
        for code in ("en", "gl", "th")
    ]
    digest = hashlib.sha256(f"[{', '.join(told)}]".encode()).hexdigest()
    assert (cldr.REVISION, digest[:16]) == ("babel-2.18.0-v1", "e1e62ad95258ed8a")


def test_an_uncovered_language_and_an_unknown_split_are_refused() -> None:
    with pytest.raises(InputError, match="does not cover"):
        sentences("tlh", "test")
    with pytest.raises(InputError, match="unknown split"):
        sentences("en", "dev")
