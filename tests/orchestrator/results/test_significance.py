import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.scoring.bootstrap import paired_bootstrap, smallest_p
from jobs.scoring.metrics import metric_over
from orchestrator.results.searches import Gain
from orchestrator.results.significance import ALPHA, family, holm, resamples_for

P_VALUES = st.lists(st.floats(0, 1), max_size=30)


def test_holms_own_steps_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == (0.03, 0.06, 0.06, 0.02)


def test_nothing_to_correct_stays():
    assert holm([]) == () and holm([0.03]) == (0.03,)


@given(P_VALUES)
def test_adjusted_values_keep_the_order_and_lie_between_the_raw_and_bonferronis(values):
    adjusted = np.array(holm(values))
    raw = np.array(values)
    assert (adjusted >= raw).all() and (adjusted <= np.minimum(1, raw * max(1, len(values))) + 1e-12).all()
    order = np.argsort(raw, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


@given(st.lists(st.booleans(), min_size=1, max_size=50), st.integers(0, 10))
def test_rejections_are_those_of_the_step_down_procedure(is_small, seed):
    rng = np.random.default_rng(seed)
    raw = [float(rng.uniform(0, 0.01) if small else rng.uniform()) for small in is_small]
    rejected = set()
    for place, i in enumerate(np.argsort(raw)):  # Holm's procedure as he states it
        if raw[i] > 0.05 / (len(raw) - place):
            break
        rejected.add(int(i))
    assert {i for i, p in enumerate(holm(raw)) if p <= 0.05} == rejected


def deciding(value, p):
    return Gain("own", "own", "own", value, value - 1, value + 1, 1, p=p)


@pytest.mark.parametrize(("comparisons", "draws"), [(0, 10_000), (1, 10_000), (250, 10_000), (251, 10_040)])
def test_draws_follow_from_the_number_of_comparisons(comparisons, draws):
    assert resamples_for(comparisons) == draws


@pytest.mark.parametrize("comparisons", [26, 250, 5000])
def test_gains_that_no_draw_reaches_are_all_left_however_many_there_are(comparisons):
    floor = smallest_p(resamples_for(comparisons))
    found = family([deciding(50.0, floor)] * comparisons, comparisons)
    assert (found.wins, found.size, found.at_floor) == (comparisons,) * 3
    assert max(found.adjusted) == pytest.approx(comparisons * floor) and max(found.adjusted) < ALPHA


def test_of_200_large_gains_all_are_left():
    rng, accuracy = np.random.default_rng(3), metric_over("accuracy", ("examples", "accuracy"))
    gains = []
    for _ in range(200):
        right = rng.random((2, 100)) < np.array([[0.95], [0.4]])
        ours, theirs = (np.stack([np.ones(100), 100.0 * own], axis=1) for own in right)
        found = paired_bootstrap(ours, theirs, accuracy, resamples=resamples_for(200))
        gains.append(deciding(found.gain, found.p))
    found = family(gains, 200)
    assert found.wins == found.size == 200


def test_the_family_has_a_gain_of_every_comparison_that_has_a_p_value():
    gains = [deciding(1.0, 0.02), deciding(2.0, math.nan), deciding(-3.0, 0.0001), deciding(1.0, 0.3)]
    found = family(gains, 4)
    assert found.adjusted[0] == pytest.approx(0.04) and math.isnan(found.adjusted[1])
    assert found.adjusted[2:] == pytest.approx((0.0003, 0.3))
    assert (found.size, found.wins, found.at_floor) == (3, 1, 0), "a certain loss is no win"
