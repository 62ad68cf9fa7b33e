"""Spaces: what they hold, how many, and every fault of one that holds nothing useful."""

import re
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.spec import LineSpace, Mixture, MixtureSpace, RangeSpace, RuleSpace, SimplexSpace, StrategySpec, SubsetSpace
from search_spaces.mixtures.axes import axes, candidate_at, point_of
from search_spaces.mixtures.checks import space_faults, strategy_faults
from search_spaces.mixtures.spaces import (
    candidates,
    composition_count,
    compositions,
    keys_of,
    parts_of,
    rounded,
    size,
)
from tests.search_spaces.mixtures.membership import contains

POOL = ("en", "es", "pt", "fr")
SUBSETS = SubsetSpace(POOL, 3)
ADAMERGEX = ((("task:en", 1.0, 0.0), ("gl", 0.0, 1.0), ("en", 0.0, -1.0)),)
SPACES = {
    "pairs": MixtureSpace((("en", "es"), ("en", "pt")), (0.0, 0.25, 0.5, 0.75, 1.0)),
    "add": LineSpace(((("task:en", 0.0, 1.0), ("gl", 1.0, -1.0)),), (0.0, 0.3, 1.0)),
    "adamergex": LineSpace(ADAMERGEX, (0.0, 0.5, 1.0), "adamergex"),
    "ties on a line": LineSpace(
        ((("en", 1, 0), ("es", 1, 0)), (("en", 1, 0), ("pt", 1, 0))), (0.8, 1.0), "ties", (("density", 0.2),), "lambda"
    ),
    "simplex": SimplexSpace(POOL, 0.25),
    "subsets": SUBSETS,
    "weighted subsets": SubsetSpace(POOL, 2, always=("gl",), step=0.2),
    "ranges": RangeSpace((("en", -0.5, 1.0), ("es", 0.0, 1.0)), 0.5),
    "dare_ties": RuleSpace(
        SimplexSpace(POOL, 0.5), "dare_ties", (("density", (0.5, 0.9)), ("lambda", (0.8, 1.0)), ("seed", (1,)))
    ),
    "ties": RuleSpace(SUBSETS, "ties", (("density", (0.2, 0.8)), ("lambda", (0.8, 1.0, 1.2)))),
}
points = st.lists(st.floats(0, 1), min_size=8, max_size=8)


@pytest.mark.parametrize("name", SPACES)
def test_a_space_holds_its_candidates_once_and_counts_them(name):
    space = SPACES[name]
    found = [candidate.mixture for candidate in candidates(space)]
    assert len(found) == len(set(found)) == size(space)
    assert all(contains(space, mixture) for mixture in found)
    assert {key for mixture in found for key, _ in mixture.weights} <= set(keys_of(space))


@pytest.mark.parametrize("name", SPACES)
@settings(max_examples=30)
@given(numbers=points)
def test_every_point_on_the_axes_stands_for_a_candidate(name, numbers):
    space = SPACES[name]
    point = {}
    for axis, share in zip(axes(space), numbers, strict=False):
        value = axis.low + share * (axis.high - axis.low)
        point[axis.name] = float(round(value)) if axis.whole else value
    assert contains(space, candidate_at(space, point).mixture)


@pytest.mark.parametrize("name", SPACES)
def test_a_candidate_s_own_point_leads_back_to_it(name):
    space = SPACES[name]
    for candidate in candidates(space):
        point = point_of(space, candidate.mixture)
        assert candidate_at(space, point).mixture == candidate.mixture


def test_what_is_not_in_a_space_is_told_apart():
    assert not contains(SPACES["simplex"], Mixture((("en", 0.3), ("es", 0.7))))
    assert not contains(SPACES["simplex"], Mixture((("en", 1.5), ("es", -0.5))))
    assert contains(SimplexSpace(POOL), Mixture((("en", 0.3), ("es", 0.7))))
    assert not contains(SUBSETS, Mixture((("en", 0.25), ("es", 0.75))))
    assert not contains(SUBSETS, Mixture(tuple((key, 0.25) for key in POOL)))
    assert not contains(SPACES["ties"], Mixture((("en", 1.0),)))
    assert not contains(SPACES["ranges"], Mixture((("en", 1.5),)))


def test_lines_express_the_papers_rules():
    add = {c.lambda_: c.weights for c in candidates(SPACES["add"])}
    assert add[0.3] == {"task:en": 0.3, "gl": 0.7} and add[0.0] == {"gl": 1.0}
    signed = LineSpace(((("task:en", 0, 1), ("gl", 1, -1), ("en", -1, 1)),), (0.4,))
    assert next(candidates(signed)).weights == {"task:en": 0.4, "gl": 0.6, "en": -0.6}
    adapted = next(islice(candidates(SPACES["adamergex"]), 1, None)).mixture
    assert adapted == Mixture((("task:en", 1.0), ("gl", 0.5), ("en", -0.5)), "adamergex")


def test_spaces_without_a_step_have_no_size_and_no_grid():
    for space in (SimplexSpace(POOL), RangeSpace((("en", 0, 1),))):
        assert size(space) is None
        with pytest.raises(ValueError, match="no grid"):
            next(candidates(space))


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 1))
def test_compositions_are_counted(total, places, least):
    found = list(compositions(total, places, least))
    assert len(found) == len(set(found)) == composition_count(total, places, least)
    assert all(sum(parts) == total and min(parts) >= least for parts in found)


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=6), st.integers(6, 20), st.integers(0, 1))
def test_rounding_to_the_grid_keeps_the_sum_and_moves_no_share_by_a_part(values, parts, least):
    shares = [value / sum(values) for value in values]
    counts = rounded(shares, parts, least)
    assert sum(counts) == parts and min(counts) >= least
    if not least:
        assert all(abs(count - share * parts) < 1 + 1e-6 for count, share in zip(counts, shares, strict=True))


def test_steps_that_do_not_divide_one_are_refused():
    assert parts_of(0.05) == 20 and parts_of(1.0) == 1
    for step in (0.3, 0.7, 0.0, -0.5, 1.5):
        with pytest.raises(ValueError, match="does not divide 1"):
            parts_of(step)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (SimplexSpace(("en", "xx"), 0.5), "adapter that nothing makes.*got xx"),
        (SimplexSpace(POOL, 0.3), "cannot sum to one"),
        (SimplexSpace((), 0.5), "no candidate"),
        (SubsetSpace(POOL, 4, step=0.5), "cannot reach the simplex"),
        (SubsetSpace(POOL, 3, smallest=5), "no subset is of that size"),
        (SubsetSpace((), 3), "no subset is of that size"),
        (SubsetSpace(("en", "en"), 1), "twice"),
        (MixtureSpace((), (0.5,)), "no candidate"),
        (RangeSpace((("en", 1.0, 0.0),), 0.5), "holds no weight"),
        (RuleSpace(SUBSETS, "ties", (("density", ()),)), "no value to try"),
        (RuleSpace(SimplexSpace(POOL, 0.5), "ties"), "does not weigh"),
        (RuleSpace(SimplexSpace(POOL, 0.5), "layer_swapping"), "one task adapter and one language adapter"),
        (RuleSpace(SimplexSpace(POOL, 0.5), "dare_ties"), "dare_ties needs values of its option"),
    ],
)
def test_spaces_without_use_are_faults(space, message):
    text = "; ".join(map(str, space_faults(space, (*POOL, "gl"))))
    assert re.search(message, text), text


def test_good_spaces_have_no_faults():
    for space in SPACES.values():
        assert not list(space_faults(space, (*POOL, "gl", "task:en")))


@pytest.mark.parametrize(
    ("space", "strategy", "message"),
    [
        (SimplexSpace(POOL), StrategySpec("grid"), "has no grid"),
        (SimplexSpace(POOL), StrategySpec("tpe"), "endless"),
        (SUBSETS, StrategySpec("grid", evaluations=5), "does not reach through the grid"),
        (SUBSETS, StrategySpec("greedy", 1, starts=(Mixture((("en", 1.0),)), Mixture((("es", 1.0),)))), "warm starts"),
        (SPACES["pairs"], StrategySpec("greedy", 9), "chooses among languages"),
        (SUBSETS, StrategySpec("coarse", 9), "lines and ranges"),
        (SUBSETS, StrategySpec("tpe", 9, starts=(Mixture((("xx", 1.0),)),)), "not in the space"),
    ],
)
def test_strategies_that_cannot_work_are_faults(space, strategy, message):
    assert message in "; ".join(map(str, strategy_faults(space, strategy)))
