"""Span F1 against `seqeval`, and sums of statistics against the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

from jobs.errors import InputError
from jobs.scoring.metrics import choice_points, f1, mlm_loss, precision, recall, span_statistics

LABELS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER", "I-ORG", "B-ORG")
number = st.integers(0, len(LABELS) - 1)
# Any tags at all: predictions need not be valid IOB2.
pairs = st.lists(st.lists(st.tuples(number, number), min_size=1, max_size=12), min_size=1, max_size=8)


def _arrays(corpus):
    gold = np.array([g for sentence in corpus for g, _ in sentence])
    predicted = np.array([p for sentence in corpus for _, p in sentence])
    sentences = np.repeat(np.arange(len(corpus)), [len(sentence) for sentence in corpus])
    return gold, predicted, sentences


@given(pairs)
def test_span_scores_equal_seqeval(corpus):
    gold = [[LABELS[g] for g, _ in sentence] for sentence in corpus]
    predicted = [[LABELS[p] for _, p in sentence] for sentence in corpus]
    statistics = span_statistics(*_arrays(corpus), LABELS)
    for row, (true, guess) in zip(statistics, zip(gold, predicted, strict=True), strict=True):
        left, right = set(get_entities(true)), set(get_entities(guess))
        assert row.tolist() == [len(left & right), len(right - left), len(left - right)]
    sums = statistics.sum(axis=0)
    assert f1(sums) == pytest.approx(100 * f1_score(gold, predicted, zero_division=0))
    assert precision(sums) == pytest.approx(100 * precision_score(gold, predicted, zero_division=0))
    assert recall(sums) == pytest.approx(100 * recall_score(gold, predicted, zero_division=0))


def test_an_entity_does_not_run_on_into_the_next_sentence():
    gold = np.array([1, 2])  # B-LOC | I-LOC, in two sentences
    statistics = span_statistics(gold, gold, np.array([0, 1]), LABELS)
    assert statistics.tolist() == [[1, 0, 0], [1, 0, 0]]


def test_no_entities_at_all_is_a_score_of_zero():
    nothing = np.zeros(3, dtype=np.int64)
    assert f1(span_statistics(nothing, nothing, nothing, LABELS).sum(axis=0)) == 0.0


def test_labels_that_are_not_iob2_are_refused():
    with pytest.raises(InputError, match="B_LOC"):
        span_statistics(np.array([0]), np.array([0]), np.array([0]), ("O", "B_LOC"))


def test_masked_lm_loss_is_the_mean_per_token_not_per_block():
    statistics = np.array([[10.0, 2.0], [1.0, 8.0]])
    assert mlm_loss(statistics.sum(axis=0)) == pytest.approx(1.1)
    assert np.isnan(mlm_loss(np.zeros(2)))  # nothing scored is no loss of 0, the best there is


def test_choices_that_tie_share_the_points_of_a_right_answer():
    scores = np.array([[1.0, 2.0, 0.0], [3.0, 3.0, 0.0], [3.0, 3.0, 0.0], [5.0, 5.0, 5.0]])
    points, tied = choice_points(scores, np.array([1, 0, 2, 2]))
    assert points.tolist() == [100.0, 50.0, 0.0, pytest.approx(100 / 3)]
    assert tied.tolist() == [False, True, True, True]
