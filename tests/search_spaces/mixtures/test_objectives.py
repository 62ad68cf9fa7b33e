import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.mixtures.objectives import gains, ideal_of, pareto_front, scalarized_score, surrogate

rows = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=12)
CHOICES = ("regret", "mean", "worst")


def test_gains_are_shares_of_the_error_of_the_reference_whatever_the_metric():
    found = gains((60.0, 3.0), (20.0, 4.0), ("max", "min"))
    assert found == pytest.approx((0.5, 0.25))  # 80 points were lacking, 40 are won; a quarter of the loss is gone
    assert gains((10.0, 5.0), (20.0, 4.0), ("max", "min")) == pytest.approx((-0.125, -0.25))


def test_a_reference_without_error_is_no_division_by_zero():
    assert gains((99.0, 0.5), (100.0, 0.0), ("max", "min")) == (-1.0, -0.5)


@given(rows)
def test_rules_are_what_they_say_and_a_winner_with_the_best_mean_among_equals_is_on_the_front(drawn):
    candidates = [tuple(value / 10 for value in row) for row in drawn]
    table, ideal = np.array(candidates), ideal_of(candidates)
    expected = {"mean": table.mean(1), "worst": table.min(1), "regret": -(table.max(0) - table).max(1)}
    front = pareto_front(candidates)
    for choice in CHOICES:
        values = [scalarized_score(one, ideal, choice) for one in candidates]
        assert values == pytest.approx(expected[choice])
        best = max(range(len(values)), key=lambda at: (values[at], sum(drawn[at])))
        assert best in front


def test_a_flat_objective_does_not_decide_by_its_noise():
    # The first objective hardly moves; by its own range its best would count as much as half the second's error.
    candidates = [(0.001, 0.0), (0.0, 0.5)]
    assert scalarized_score(candidates[1], ideal_of(candidates), "regret") > scalarized_score(
        candidates[0], ideal_of(candidates), "regret"
    )


def test_what_a_strategy_is_told_never_changes():
    one = (0.3, -0.1)
    assert surrogate(one, "worst") == -0.1 and surrogate(one, "mean") == surrogate(one, "regret") == pytest.approx(0.1)


columns = st.lists(st.lists(st.integers(0, 5), min_size=11, max_size=11), min_size=1, max_size=3)


@given(columns)
def test_the_front_is_what_nothing_beats(drawn):
    points = list(zip(*drawn, strict=True))
    front = pareto_front(points)
    for at, one in enumerate(points):
        beaten = any(
            all(a >= b for a, b in zip(other, one, strict=True)) and any(a > b for a, b in zip(other, one, strict=True))
            for other in points
        )
        assert (at in front) == (not beaten)


def test_of_two_opposed_targets_everything_is_on_the_front():
    up, down = list(range(11)), list(range(10, -1, -1))
    assert pareto_front(list(zip(up, down, strict=True))) == up
    assert pareto_front([(value, 3) for value in up]) == [10]
