import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.results.comparisons import holm

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
