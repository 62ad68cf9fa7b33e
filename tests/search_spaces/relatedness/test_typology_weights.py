import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import InputError
from search_spaces.relatedness.ranking import rank, tipa_weights, typology_weights

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


DISTANCES = st.dictionaries(st.sampled_from([*POOL, "de", "sv"]), st.floats(0.0, 1.0) | st.just(math.nan), min_size=1)


@given(DISTANCES)
def test_tipa_weights_are_the_softmax_of_similarities_and_sum_to_one(distances):
    weights = tipa_weights(distances)
    similarities = torch.tensor([0.0 if math.isnan(d) else 1.0 - d for d in distances.values()], dtype=torch.float64)
    expected = torch.softmax(similarities, dim=0).tolist()
    assert list(weights.values()) == pytest.approx(expected, abs=5e-6)
    assert math.fsum(weights.values()) == pytest.approx(1.0, abs=1e-12)
    assert list(weights) == list(distances)


def test_tipa_weights_of_two_languages_by_hand():
    # s = 0.9 and 0.4: e^0.5 = 1.648721 times as much for the nearer one.
    assert tipa_weights({"pt": 0.1, "tr": 0.6}) == {"pt": 0.622459, "tr": 0.377541}
    assert tipa_weights({"pt": 0.0, "tr": math.nan}) == {"pt": 0.731059, "tr": 0.268941}  # e to 1, and to 0
    assert tipa_weights({}) == {}
