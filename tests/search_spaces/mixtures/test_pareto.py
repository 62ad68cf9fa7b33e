import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import InputError
from jobs.spec import Mixture
from search_spaces.mixtures.pareto import pareto_front

POINTS = [Mixture((("en", share / 10), ("es", 1 - share / 10))) for share in range(11)]
columns = st.lists(st.lists(st.integers(0, 5), min_size=11, max_size=11), min_size=1, max_size=3)


def searches(rows):
    return [dict(zip(POINTS, map(float, row), strict=True)) for row in rows]


@given(columns)
def test_the_front_is_what_nothing_beats(rows):
    found, front = searches(rows), set(pareto_front(searches(rows)))
    for one in POINTS:
        beaten = any(
            all(s[other] >= s[one] for s in found) and any(s[other] > s[one] for s in found) for other in POINTS
        )
        assert (one in front) == (not beaten)


def test_of_two_opposed_targets_everything_is_on_the_front():
    up, down = list(range(11)), list(range(10, -1, -1))
    assert len(pareto_front(searches([up, down]))) == 11
    assert pareto_front(searches([up, [3] * 11])) == (POINTS[10],)


def test_searches_without_a_common_mixture_are_refused():
    with pytest.raises(InputError, match="no mixture was scored in all"):
        pareto_front([{POINTS[0]: 1.0}, {POINTS[1]: 1.0}])
    with pytest.raises(InputError, match="no search"):
        pareto_front([])
