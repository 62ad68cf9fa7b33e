"""The paired bootstrap against plain loops, closed formulas and enumeration, and on cases whose answer is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from jobs.errors import InputError
from jobs.scoring import resampling
from jobs.scoring.bootstrap import paired_bootstrap, smallest_p
from jobs.scoring.metrics import f1, metric_over, mlm_loss

accuracy = metric_over("accuracy", ("examples", "accuracy"))


def _losses(rng, examples, mean):
    tokens = rng.integers(5, 30, examples).astype(float)
    return np.stack([tokens * rng.normal(mean, 0.4, examples), tokens], axis=1)


def _spans(rng, examples, right):
    hits = rng.binomial(3, right, examples)
    return np.stack([hits, 3 - hits, 3 - hits], axis=1).astype(float)


def _answers(right):
    right = np.asarray(right, dtype=float)
    return np.stack([np.ones(len(right)), 100 * right], axis=1)


def test_the_interval_is_that_of_a_plain_loop():
    rng = np.random.default_rng(1)
    a, b = _spans(rng, 80, 0.6), _spans(rng, 80, 0.5)
    found = paired_bootstrap(a, b, f1)
    gains = []
    for _ in range(8000):
        rows = rng.integers(80, size=80)
        gains.append(f1(a[rows].sum(axis=0)) - f1(b[rows].sum(axis=0)))
    gain = float(f1(a.sum(axis=0)) - f1(b.sum(axis=0)))
    differing = np.count_nonzero((a != b).any(axis=1))
    half = stats.t.ppf(0.975, 79) * np.std(gains) * math.sqrt(80 / 79 * (differing + 1) / differing)
    assert found.gain == pytest.approx(gain)
    assert [found.low, found.high] == pytest.approx([gain - half, gain + half], abs=0.04 * half)
    assert (found.units, found.differing) == (80, differing)
    assert math.isnan(found.seeds_low) and math.isnan(found.seeds_high)


def test_of_a_mean_the_interval_is_students_for_pairs():
    rng = np.random.default_rng(12)
    a, b = rng.random(30) < 0.7, rng.random(30) < 0.5
    found = paired_bootstrap(_answers(a), _answers(b), accuracy)
    expected = stats.ttest_rel(100.0 * a, 100.0 * b).confidence_interval(0.95)
    wider = math.sqrt(((a != b).sum() + 1) / (a != b).sum())
    assert found.high - found.low == pytest.approx(wider * (expected.high - expected.low), rel=0.03)
    assert (found.low + found.high) / 2 == pytest.approx(found.gain)


def test_the_p_value_is_that_of_all_trades_of_places():
    rng = np.random.default_rng(8)
    a, b = _spans(rng, 12, 0.7), _spans(rng, 12, 0.5)
    observed = abs(f1(a.sum(axis=0)) - f1(b.sum(axis=0)))
    reached = 0
    for traded in itertools.product((False, True), repeat=12):
        own = (
            np.where(np.array(traded)[:, None], b, a).sum(axis=0),
            np.where(np.array(traded)[:, None], a, b).sum(axis=0),
        )
        reached += abs(f1(own[0]) - f1(own[1])) >= observed - 1e-9
    assert paired_bootstrap(a, b, f1, resamples=40_000).p == pytest.approx(reached / 2**12, rel=0.05)


def test_few_differing_examples_are_no_certainty():
    same = np.ones(200, dtype=bool)
    worse = same.copy()
    worse[:5] = False
    found = paired_bootstrap(_answers(same), _answers(worse), accuracy, resamples=40_000)
    assert found.differing == 5
    assert found.p == pytest.approx(stats.binomtest(5, 5).pvalue, rel=0.1)  # the exact sign test: 0.0625


def test_a_clear_gain_lies_above_zero_and_a_lower_loss_is_a_gain():
    rng = np.random.default_rng(2)
    bad = _losses(rng, 200, 3.0)
    good = bad - np.stack([0.2 * bad[:, 1], np.zeros(200)], axis=1)
    good[:, 0] += rng.normal(0, 0.1, 200)
    found = paired_bootstrap(good, bad, mlm_loss, better="min")
    assert found.gain == pytest.approx(0.2, abs=0.002)
    assert 0.19 < found.low < found.high < 0.21
    assert found.p == smallest_p(10_000) == 1 / 10_001


def test_a_system_does_not_differ_from_itself():
    own = _spans(np.random.default_rng(3), 50, 0.5)
    found = paired_bootstrap(own, own, f1)
    assert (found.gain, found.p, found.differing) == (0.0, 1.0, 0)
    assert math.isnan(found.low) and math.isnan(found.high), "no certainty that they never will"


@pytest.mark.parametrize("groups", [(), ("one",)])
def test_one_example_gives_no_interval_and_no_certainty(groups):
    found = paired_bootstrap(_answers([True]), _answers([False]), accuracy, groups=groups)
    assert (found.gain, found.p, found.units) == (100.0, 1.0, 1)
    assert math.isnan(found.low) and math.isnan(found.high)
    alike = paired_bootstrap(_answers([True]), _answers([True]), accuracy, groups=groups)
    assert alike.p == 1.0 and math.isnan(alike.low)


def test_examples_that_all_differ_alike_give_no_interval_and_the_p_value_of_coins():
    found = paired_bootstrap(_answers([True] * 4), _answers([False] * 4), accuracy, resamples=40_000)
    assert math.isnan(found.low) and math.isnan(found.high)
    assert found.p == pytest.approx(2 / 2**4, rel=0.05)
    two = [_answers([True] * 4)] * 2, [_answers([False] * 4)] * 2
    assert math.isnan(paired_bootstrap(*two, accuracy).seeds_low)


def test_two_examples_give_an_interval_as_wide_as_two_values_allow():
    found = paired_bootstrap(_answers([True, True]), _answers([False, True]), accuracy, resamples=40_000)
    # Student's t for one degree of freedom, the standard error of 0 and 100, one of the two differing.
    half = 12.706 * 50 * math.sqrt(2)
    assert [found.low, found.high] == pytest.approx([50 - half, 50 + half], rel=0.02)


def test_two_systems_of_equal_quality_seem_to_differ_as_often_as_is_said():
    rng = np.random.default_rng(4)
    found = [paired_bootstrap(_spans(rng, 100, 0.5), _spans(rng, 100, 0.5), f1, resamples=300) for _ in range(400)]
    low, high = stats.binom.ppf([0.001, 0.999], 400, 0.05)
    assert low <= sum(one.p < 0.05 for one in found) <= high
    assert low <= sum(not one.low <= 0 <= one.high for one in found) <= high


def test_groups_are_drawn_whole():
    rng = np.random.default_rng(10)
    a, b = _spans(rng, 60, 0.6), _spans(rng, 60, 0.5)
    groups = [f"g{number}" for number in rng.integers(25, size=60)]
    names = sorted(set(groups))
    sums = [np.array([part[[own == name for own in groups]].sum(axis=0) for name in names]) for part in (a, b)]
    found = paired_bootstrap(a, b, f1, groups=groups)
    assert repr(found) == repr(paired_bootstrap(*sums, f1))
    assert found.units == len(names)


def test_a_text_that_is_asked_three_times_counts_once():
    rng = np.random.default_rng(11)
    a, b = rng.random(80) < 0.7, rng.random(80) < 0.5
    once = paired_bootstrap(_answers(a), _answers(b), accuracy)
    thrice = _answers(np.repeat(a, 3)), _answers(np.repeat(b, 3))
    together = paired_bootstrap(*thrice, accuracy, groups=[f"{number:02d}" for number in np.repeat(range(80), 3)])
    assert (together.gain, together.low, together.high, together.p) == pytest.approx(
        (once.gain, once.low, once.high, once.p)
    )
    apart = paired_bootstrap(*thrice, accuracy)
    assert (together.high - together.low) / (apart.high - apart.low) == pytest.approx(math.sqrt(3), rel=0.05)


def test_groups_of_other_examples_are_refused():
    own = _answers([True, False])
    with pytest.raises(InputError, match=r"not one group an example \(got 3 for 2 examples\)"):
        paired_bootstrap(own, own, accuracy, groups=("a", "b", "b"))


def test_the_gain_over_seeds_is_the_mean_of_the_gains():
    rng = np.random.default_rng(5)
    a, b = [_spans(rng, 60, 0.7) for _ in range(3)], [_spans(rng, 60, 0.5) for _ in range(3)]
    alone = [paired_bootstrap(left, right, f1).gain for left, right in zip(a, b, strict=True)]
    assert paired_bootstrap(a, b, f1).gain == pytest.approx(np.mean(alone))


@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_over_seeds_the_interval_is_that_of_crossed_random_effects(spread):
    """Of a mean all variances have closed forms: those of a table of seeds by examples."""
    rng, seeds, examples = np.random.default_rng(7), 4, 150
    hard = rng.random(examples)
    a, b = (
        [hard + 0.4 * rng.random(examples) < 0.6 + better + spread * rng.standard_normal() for _ in range(seeds)]
        for better in (0.1, 0.0)
    )
    table = 100 * (np.array(a, dtype=float) - np.array(b, dtype=float))
    gain, differing = table.mean(), np.count_nonzero((np.array(a) != np.array(b)).any(axis=0))
    wider = (differing + 1) / differing
    of_examples = wider * table.mean(axis=0).var(ddof=1) / examples
    residual = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + gain
    interaction = wider * (residual**2).sum() / ((seeds - 1) * (examples - 1)) / (seeds * examples)
    of_seeds = table.mean(axis=1).var(ddof=1) / seeds
    t_seeds, t_examples = stats.t.ppf(0.975, seeds - 1), stats.t.ppf(0.975, examples - 1)
    both = math.hypot(t_seeds * math.sqrt(of_seeds), t_examples * math.sqrt(of_examples - interaction))
    half = max(both, t_examples * math.sqrt(of_examples))
    found = paired_bootstrap([_answers(own) for own in a], [_answers(own) for own in b], accuracy)
    assert [found.seeds_low, found.seeds_high] == pytest.approx([gain - half, gain + half], abs=0.05 * half)
    assert found.seeds_low <= found.low + 1e-9 and found.high - 1e-9 <= found.seeds_high


def test_the_same_call_gives_the_same_and_swapping_systems_flips_it():
    rng = np.random.default_rng(6)
    a, b = _spans(rng, 60, 0.6), _spans(rng, 60, 0.5)
    first, again = paired_bootstrap(a, b, f1), paired_bootstrap(a, b, f1)
    swapped = paired_bootstrap(b, a, f1)
    assert repr(first) == repr(again)
    assert (swapped.gain, swapped.low, swapped.p) == pytest.approx((-first.gain, -first.high, first.p))


def test_draws_are_the_same_whether_they_are_kept_or_made_anew(monkeypatch):
    rng = np.random.default_rng(9)
    a, b = _losses(rng, 70, 3.0), _losses(rng, 70, 2.9)
    kept = paired_bootstrap(a, b, mlm_loss)
    monkeypatch.setattr(resampling, "_KEPT", 0)
    assert repr(paired_bootstrap(a, b, mlm_loss)) == repr(kept)


@pytest.mark.parametrize("kind", ["counts", "swaps"])
def test_draws_come_in_portions_and_are_what_they_are_called(kind):
    portions = list(resampling.draws(kind, 3000, 1500))
    assert len(portions) > 1 and sum(len(portion) for portion in portions) == 1500
    drawn = np.concatenate(portions)
    if kind == "counts":
        assert (drawn.sum(axis=1, dtype=int) == 3000).all()
        assert drawn.var(dtype=float) == pytest.approx(1, rel=0.01)
    else:
        assert set(np.unique(drawn)) == {0, 1} and drawn.mean(dtype=float) == pytest.approx(0.5, rel=0.01)


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
