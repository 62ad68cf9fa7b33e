from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.spec import LineSpace, Mixture, MixtureSpace
from search_spaces.mixtures.candidates import lambda_grid, pair_candidate
from search_spaces.mixtures.spaces import candidates


def test_the_grid_of_the_paper_has_21_exact_points():
    grid = lambda_grid(0.05)
    assert len(grid) == 21 and grid[0] == 0.0 and grid[-1] == 1.0
    assert grid[3] == 0.15 and grid[14] == 0.7  # no 0.15000000000000002


@given(st.floats(0.001, 1.0))
def test_a_grid_begins_with_0_ends_with_1_and_rises(step):
    grid = lambda_grid(step)
    assert grid[0] == 0.0 and grid[-1] == 1.0
    assert all(a < b for a, b in pairwise(grid))
    assert all(b - a <= step + 1e-12 for a, b in pairwise(grid))


def test_a_step_that_does_not_divide_1_still_reaches_it():
    assert lambda_grid(0.3) == (0.0, 0.3, 0.6, 0.9, 1.0)
    assert lambda_grid(1) == (0.0, 1.0)


@pytest.mark.parametrize("step", [0, -0.1, 1.5, float("nan"), float("inf")])
def test_other_steps_are_refused(step):
    with pytest.raises(ValueError, match="lambda step"):
        lambda_grid(step)


@given(st.sampled_from(lambda_grid(0.05)))
def test_weights_add_up_to_1_and_zeros_are_left_out(value):
    weights = pair_candidate(("en", "gl"), value).weights
    assert sum(weights.values()) == pytest.approx(1) and all(weights.values())


def test_a_pair_of_one_language_is_that_language():
    assert pair_candidate(("en", "en"), 0.3).weights == {"en": 1.0}


def test_shared_ends_are_tried_once():
    space = MixtureSpace((("en", "es"), ("en", "pt"), ("es", "pt")), lambda_grid(0.5))
    tried = [tuple(sorted(c.weights.items())) for c in candidates(space)]
    assert len(tried) == len(set(tried)) == 3 + 3


def test_adamergex_that_moves_nothing_is_the_task_adapter_without_the_rules_own_options():
    line = (("task:en", 1.0, 0.0), ("language:gl", 0.0, 1.0), ("language:en", 0.0, -1.0))
    options = (("operators", "multiply"), ("space", "factors"))
    space = LineSpace((line,), (0.0, 0.5), "adamergex", options)
    still, moved = (candidate.mixture for candidate in candidates(space))
    assert still == Mixture((("task:en", 1.0),), "linear", (("space", "factors"),))
    assert moved.method == "adamergex" and moved.options == options and len(moved.weights) == 3
