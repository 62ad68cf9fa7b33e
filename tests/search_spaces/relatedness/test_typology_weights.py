import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import InputError
from search_spaces.relatedness.ranking import rank, typology_weights

POOL = ["pt", "es", "fr", "en", "hi", "tr"]


@settings(deadline=None)  # the first example loads the features
@given(st.lists(st.sampled_from(POOL), min_size=1, unique=True), st.sampled_from(["syntactic", "mixed"]))
def test_typology_weights_are_positive_sum_to_one_and_fall_with_distance(pool, by):
    weights = typology_weights("gl", pool, by)
    assert sum(weights.values()) == pytest.approx(1.0)
    assert all(weight > 0.0 for weight in weights.values())
    assert list(weights) == [one.code for one in rank("gl", pool, by).related]
    assert list(weights.values()) == sorted(weights.values(), reverse=True)


def test_typology_weights_are_the_normalised_similarities():
    related = rank("gl", ["pt", "es"]).related
    similarity = {one.code: 1.0 - one.distance for one in related}
    weights = typology_weights("gl", ["pt", "es"], "syntactic")
    assert weights["pt"] == pytest.approx(similarity["pt"] / sum(similarity.values()))


def test_a_language_without_data_gets_no_weight():
    assert set(typology_weights("gl", ["pt", "sk"], "syntactic")) == {"pt"}


@pytest.mark.parametrize(("pool", "by"), [(["eu"], "genetic"), (["sk"], "syntactic")])
def test_weights_that_cannot_be_made_are_refused(pool, by):
    with pytest.raises(InputError, match="no weight can be made for gl"):
        typology_weights("gl", pool, by)
