import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.spec import Mixture
from search_spaces.mixtures.objectives import gains, ideal_of, scalarized_score, surrogate
from search_spaces.mixtures.pareto import pareto_front

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
    mixtures = [Mixture((("en", float(number)),)) for number in range(len(candidates))]
    front = pareto_front([dict(zip(mixtures, column, strict=True)) for column in zip(*candidates, strict=True)])
    for choice in CHOICES:
        values = [scalarized_score(one, ideal, choice) for one in candidates]
        assert values == pytest.approx(expected[choice])
        best = max(range(len(values)), key=lambda at: (values[at], sum(drawn[at])))
        assert mixtures[best] in front


def test_a_flat_objective_does_not_decide_by_its_noise():
    # The first objective hardly moves; by its own range its best would count as much as half the second's error.
    candidates = [(0.001, 0.0), (0.0, 0.5)]
    assert scalarized_score(candidates[1], ideal_of(candidates), "regret") > scalarized_score(
        candidates[0], ideal_of(candidates), "regret"
    )


def test_what_a_strategy_is_told_never_changes():
    one = (0.3, -0.1)
    assert surrogate(one, "worst") == -0.1 and surrogate(one, "mean") == surrogate(one, "regret") == pytest.approx(0.1)
