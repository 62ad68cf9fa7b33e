"""Answer scores against torchmetrics' port of the official script, and MLQA's rules by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.text import squad

from jobs.scoring.squad import answer_f1, answer_words, exact_match

CASES = [
    ("The Norman dynasty", ["norman  dynasty!", "Normans"]),
    ("", ["Paris"]),
    ("the", ["Paris"]),
    ("a.m.", ["A.M", "an hour"]),
    ("1,5–2,5 kg", ["1,5–2,5 kg", "1,5-2,5 kg"]),
    ("東京都の中心", ["東京都", "東京都の中心"]),
    ("東京 都", ["都 東京"]),
    ("في القاهرة عام 1920", ["القاهرة", "عام 1920"]),
    ("दिल्ली में।", ["दिल्ली में", "दिल्ली"]),
    ("Санкт-Петербург", ["санкт петербург", "СанктПетербург"]),
    ("red red blue", ["red blue blue", "green"]),
    ("Ğ İstanbul", ["istanbul", "İSTANBUL"]),
    ("50 %", ["50%", "fifty percent"]),
    ("...", ["!"]),
]


def reference(predicted, gold):
    found = squad(
        [{"prediction_text": predicted, "id": "1"}],
        [{"answers": {"answer_start": [0] * len(gold), "text": list(gold)}, "id": "1"}],
    )
    return float(found["f1"]) / 100, float(found["exact_match"]) / 100


@pytest.mark.parametrize(("predicted", "gold"), CASES)
def test_scores_equal_the_reference_in_every_script(predicted, gold):
    assert (answer_f1(predicted, gold), exact_match(predicted, gold)) == pytest.approx(reference(predicted, gold))


WORDS = st.lists(st.sampled_from(["a", "The", "red", "Rot", "u.s.", "東京", "كتاب", "-", " "]), max_size=5)


@given(WORDS, st.lists(WORDS, min_size=1, max_size=3))
def test_scores_equal_the_reference_on_any_words(predicted, gold):
    texts = [" ".join(words) for words in gold]
    assert answer_f1(" ".join(predicted), texts) == pytest.approx(reference(" ".join(predicted), texts)[0])
    assert exact_match(" ".join(predicted), texts) == reference(" ".join(predicted), texts)[1]


@given(st.text(max_size=12), st.text(max_size=12))
def test_f1_is_symmetric_and_an_exact_match_has_f1_one(a, b):
    for rules in ("squad", "mlqa"):
        assert answer_f1(a, [b], "zh", rules) == answer_f1(b, [a], "zh", rules)
        assert answer_f1(a, [a], "zh", rules) == exact_match(a, [a], "zh", rules) == 1.0


@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        ("en", "The “Norman” dynasty", ["norman", "dynasty"]),
        ("es", "El río de la Plata", ["río", "de", "plata"]),
        ("de", "Die Straße, der Dom", ["straße", "dom"]),
        ("vi", "những cái cây", ["cây"]),
        ("ar", "القاهرة، مصر", ["قاهرة", "مصر"]),
        ("zh", "東京都2020年。", ["東", "京", "都", "2020", "年"]),
        ("cmn", "北京", ["北", "京"]),
        ("hi", "दिल्ली में।", ["दिल्ली", "में"]),
        ("fi", "The “talo”", ["the", "talo"]),
        ("es-419", "la casa", ["casa"]),
    ],
)
def test_mlqa_s_rules_know_the_language(language, text, words):
    assert answer_words(text, language, "mlqa") == words


def test_under_mlqa_s_rules_half_of_a_chinese_answer_is_half_right():
    assert answer_f1("東京", ["東京都庁"], "zh", "mlqa") == pytest.approx(2 / 3)
    assert answer_f1("東京", ["東京都庁"], "zh", "squad") == 0.0


def test_an_answer_without_gold_is_refused():
    with pytest.raises(ValueError):
        answer_f1("x", [])
