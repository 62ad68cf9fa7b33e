"""chrF of a corpus from counts of its examples, against sacrebleu and a count by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sacrebleu.metrics.chrf import CHRF

from jobs.scoring.metrics import CHRF_COLUMNS, EXAMPLES, chrf, metric_over, metrics_of
from jobs.scoring.rouge import english_words
from jobs.scoring.texts import points_of, score_texts
from jobs.spec import TaskRef, metric_of

TASK = TaskRef("mt", "generation", metric="chrf", prompt="{a}", answer=" {b}")
WRITTEN = ["Das Haus ist klein.", "Es regnet heute in Berlin", "猫が好きです", "", "أهلا وسهلا", "x"]
ANSWERS = [
    ["Das Haus ist sehr klein.", "Das kleine Haus."],
    ["Heute regnet es in Berlin.", "In Berlin regnet es heute."],
    ["私は猫が好きです。", "猫がすき"],
    ["Nichts.", "Gar nichts"],
    ["أهلاً وسهلاً بكم", "مرحبا"],
    ["y", "zz"],
]


def scored(written, answers):
    return score_texts(written, answers, points_of(TASK, "de", english_words))


def corpus(written, answers):
    """sacrebleu has one list for the first answers of all, one for the second."""
    return CHRF().corpus_score(written, [list(own) for own in zip(*answers, strict=True)]).score


def test_the_score_of_a_corpus_is_sacrebleu_s():
    columns, statistics = scored(WRITTEN, ANSWERS)
    found = metric_over("chrf", columns)(statistics.sum(axis=0))
    assert found == pytest.approx(corpus(WRITTEN, ANSWERS), abs=1e-9)
    single = [own[:1] for own in ANSWERS]
    columns, statistics = scored(WRITTEN, single)
    found = metric_over("chrf", columns)(statistics.sum(axis=0))
    assert found == pytest.approx(corpus(WRITTEN, single), abs=1e-9)
    assert 0 < found < 100


def test_examples_drawn_again_have_the_score_of_that_corpus():
    columns, statistics = scored(WRITTEN, ANSWERS)
    metric = metric_over("chrf", columns)
    drawn = np.random.default_rng(5).integers(0, len(WRITTEN), (20, len(WRITTEN)))
    found = metric(statistics[drawn].sum(axis=1))
    expected = [corpus([WRITTEN[place] for place in row], [ANSWERS[place] for place in row]) for row in drawn]
    assert found == pytest.approx(np.array(expected), abs=1e-9)


def test_counts_of_a_short_text_by_hand():
    # "abc" and "abd": of one character 3, 3 and 2 common; of two 2, 2 and 1; of three 1, 1 and none.
    columns, statistics = scored(["abc"], [["abd"]])
    assert columns == (EXAMPLES, *CHRF_COLUMNS)
    assert statistics[0].tolist() == [1, 3, 3, 2, 2, 2, 1, 1, 1, 0, *[0] * 9]
    mean = (2 / 3 + 1 / 2 + 0) / 3
    assert chrf(statistics[:, 1:].sum(axis=0)) == pytest.approx(100 * 5 * mean * mean / (4 * mean + mean))


def test_nothing_written_and_nothing_common_score_zero():
    for written in ("", "x"):
        _, statistics = scored([written], [["yyyyyyyy"]])
        assert chrf(statistics[:, 1:].sum(axis=0)) == 0


def test_the_metric_is_one_of_generation_and_the_record_has_it_alone():
    assert metric_of(TASK) == ("chrf", "max")
    assert metrics_of((EXAMPLES, *CHRF_COLUMNS)) == ("chrf",)
    assert metrics_of((EXAMPLES, "rouge1", "rouge2")) == ("rouge1", "rouge2")
