"""The paired bootstrap against a plain loop, and on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.errors import InputError
from jobs.scoring.bootstrap import paired_bootstrap
from jobs.scoring.metrics import f1, mlm_loss


def _losses(rng, examples, mean):
    tokens = rng.integers(5, 30, examples).astype(float)
    return np.stack([tokens * rng.normal(mean, 0.4, examples), tokens], axis=1)


def _spans(rng, examples, right):
    hits = rng.binomial(3, right, examples)
    return np.stack([hits, 3 - hits, 3 - hits], axis=1).astype(float)


def test_the_interval_equals_that_of_a_plain_loop():
    rng = np.random.default_rng(1)
    a, b = _spans(rng, 80, 0.6), _spans(rng, 80, 0.5)
    found = paired_bootstrap(a, b, f1, resamples=4000, seed=3)
    gains = []
    for _ in range(4000):
        rows = rng.integers(80, size=80)
        gains.append(f1(a[rows].sum(axis=0)) - f1(b[rows].sum(axis=0)))
    assert found.gain == pytest.approx(f1(a.sum(axis=0)) - f1(b.sum(axis=0)))
    assert [found.low, found.high] == pytest.approx(np.quantile(gains, [0.025, 0.975]), abs=0.7)


def test_a_clear_gain_lies_above_zero_and_a_lower_loss_is_a_gain():
    rng = np.random.default_rng(2)
    bad = _losses(rng, 200, 3.0)
    good = bad - np.stack([0.2 * bad[:, 1], np.zeros(200)], axis=1)
    found = paired_bootstrap(good, bad, mlm_loss, better="min")
    assert found.gain == pytest.approx(0.2)
    assert 0.19 < found.low <= found.high < 0.21
    assert found.p < 0.01


def test_a_system_does_not_differ_from_itself():
    own = _spans(np.random.default_rng(3), 50, 0.5)
    found = paired_bootstrap(own, own, f1)
    assert (found.gain, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_two_systems_of_equal_quality_rarely_seem_to_differ():
    rng = np.random.default_rng(4)
    significant = sum(
        paired_bootstrap(_spans(rng, 100, 0.5), _spans(rng, 100, 0.5), f1, resamples=300).p < 0.05 for _ in range(100)
    )
    assert significant <= 12


def test_the_gain_over_seeds_is_the_mean_of_the_gains():
    rng = np.random.default_rng(5)
    a, b = [_spans(rng, 60, 0.7) for _ in range(3)], [_spans(rng, 60, 0.5) for _ in range(3)]
    alone = [paired_bootstrap(left, right, f1).gain for left, right in zip(a, b, strict=True)]
    assert paired_bootstrap(a, b, f1).gain == pytest.approx(np.mean(alone))


def test_equal_seeds_give_equal_intervals_and_swapping_systems_flips_them():
    rng = np.random.default_rng(6)
    a, b = _spans(rng, 60, 0.6), _spans(rng, 60, 0.5)
    first, again = paired_bootstrap(a, b, f1, seed=9), paired_bootstrap(a, b, f1, seed=9)
    swapped = paired_bootstrap(b, a, f1, seed=9)
    assert first == again
    assert (swapped.gain, swapped.low) == pytest.approx((-first.gain, -first.high))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros((4, 3)), np.zeros((5, 3))),
        (np.zeros((0, 3)), np.zeros((0, 3))),
        ([np.zeros((4, 3)), np.zeros((5, 3))], [np.zeros((4, 3)), np.zeros((5, 3))]),
        ([np.zeros((4, 3))], [np.zeros((4, 3))] * 2),
    ],
)
def test_systems_scored_on_other_examples_or_seeds_are_refused(a, b):
    with pytest.raises(InputError, match="same examples"):
        paired_bootstrap(a, b, f1)
