"""Points of generated texts, and what is made of them."""

import numpy as np
import pytest

from jobs.errors import InputError
from jobs.scoring.bootstrap import paired_bootstrap
from jobs.scoring.metrics import LOSS_COLUMNS, SPAN_COLUMNS, metric_over
from jobs.scoring.rouge import english_words, rouge
from jobs.scoring.texts import exact_match, points_of, score_texts, until_stop
from jobs.spec import TaskRef


def points(kind, metric, **settings):
    return points_of(TaskRef("t", kind, metric=metric, **settings), "de", english_words)


def test_exact_match_forgives_unicode_form_and_white_space_alone():
    assert exact_match(" cafe\u0301\n", ["café"]) == {"exact_match": 100.0}
    assert exact_match("Café", ["café"]) == {"exact_match": 0.0}
    assert exact_match("the café", ["café"]) == {"exact_match": 0.0}
    assert exact_match("", ["café"]) == {"exact_match": 0.0}


def test_the_best_of_several_answers_counts():
    assert exact_match("二", ["一", "二"]) == {"exact_match": 100.0}
    assert points("generation", "number_match")("4", ["3", "4"]) == {"number_match": 100.0}


def test_answers_to_questions_are_compared_by_the_squad_rules():
    found = points("qa", "f1")("the Eiffel tower!", ["Eiffel Tower", "Paris"])
    assert found == {"f1": 100.0, "exact_match": 100.0}
    assert points("qa", "f1", answer_rules="mlqa")("der Turm", ["Turm"])["f1"] == 100.0
    assert points("qa", "exact_match")("", ["Paris"]) == {"f1": 0.0, "exact_match": 0.0}


def test_a_gold_text_within_a_longer_generation_is_no_exact_match():
    # A published script asks `gold in text`, where the text holds the prompt with every label.
    assert exact_match("Is it entailment, neutral or contradiction? neutral", ["neutral"]) == {"exact_match": 0.0}


def test_the_score_of_a_set_is_the_mean_of_its_examples():
    predictions, answers = ["a cat", "a dog", ""], [["a cat"], ["the dog"], ["a bird"]]
    columns, statistics = score_texts(predictions, answers, points("generation", "rouge2"))
    assert columns == ("examples", "rouge1", "rouge2", "rougeL")
    singles = [rouge(guess, own, english_words) for guess, own in zip(predictions, answers, strict=True)]
    for name in columns[1:]:
        value = metric_over(name, columns)(statistics.sum(axis=0))
        assert value == pytest.approx(np.mean([one[name] for one in singles]))


def test_examples_can_be_resampled_in_pairs():
    answers = [[str(number)] for number in range(40)]
    scored = points("generation", "number_match")
    columns, right = score_texts([own[0] for own in answers], answers, scored)
    _, wrong = score_texts(["none"] * 20 + [own[0] for own in answers[20:]], answers, scored)
    found = paired_bootstrap(right, wrong, metric_over("number_match", columns))
    assert found.gain == pytest.approx(50.0)
    assert 20 < found.low < 50 < found.high < 80


def test_columns_say_which_metric_they_hold():
    spans, losses = np.array([3.0, 1.0, 1.0]), np.array([6.0, 4.0])
    assert metric_over("f1", SPAN_COLUMNS)(spans) == pytest.approx(75.0)
    assert metric_over("lm_loss", LOSS_COLUMNS)(losses) == pytest.approx(1.5)
    assert metric_over("f1", ("examples", "exact_match", "f1"))(np.array([4.0, 100.0, 200.0])) == pytest.approx(50.0)
    with pytest.raises(KeyError, match="rouge2"):
        metric_over("rouge2", ("examples", "exact_match"))


def test_predictions_and_examples_must_pair_up():
    with pytest.raises(InputError, match="1 for 2"):
        score_texts(["a"], [["a"], ["b"]], exact_match)
    with pytest.raises(InputError, match=r"without an answer.*1"):
        score_texts(["a", "b"], [["a"], []], exact_match)


@pytest.mark.parametrize(
    ("text", "stop", "kept"),
    [
        (" 18\n\nQuestion: 4", ("Question:", "\n\n"), "18"),
        ("\n\n 18\nmore", ("\n",), "18"),  # an answer on a new line is no empty answer
        (" 18 apples", ("\n",), None),
        ("\n", ("\n",), None),
        ("Question: 4", ("Question:",), ""),
        ("aab", ("b", "ab"), "a"),
    ],
)
def test_a_text_ends_before_the_first_stop_string(text, stop, kept):
    assert until_stop(text, stop) == ((text, False) if kept is None else (kept, True))
