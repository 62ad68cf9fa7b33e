from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from search_spaces.relatedness.codes import resolve_languages
from search_spaces.relatedness.ranking import rank
from search_spaces.relatedness.text_distances import SHORTEST, TextDistances, shared_mass, too_short


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=30))
def test_the_shared_mass_is_what_the_divergence_of_scipy_leaves(pairs):
    counts = np.array(pairs, dtype=float)
    counts[0, 0] += 1  # neither is empty
    counts[0, 1] += 1
    one, other = (counts / counts.sum(axis=0)).T
    assert shared_mass(one, other) == pytest.approx(1 - jensenshannon(one, other, base=2) ** 2, abs=1e-9)


def test_an_example_by_hand():
    """p = (1/2, 1/2, 0), q = (1/2, 0, 1/2): m = (1/2, 1/4, 1/4), H(m) = 1.5, H(p) = H(q) = 1, so 1 - D = 1/2."""
    counts = {"overlap": {"gl": {"o": 2, "a": 2}, "pt": {"o": 7, "e": 7}, "el": {"λ": 1}}}
    source = TextDistances("texts", counts, {})
    galician, portuguese, greek, sardinian = resolve_languages(["gl", "pt", "el", "sc"])
    values = source.matrix("overlap", [galician], [galician, portuguese, greek, sardinian])
    assert values[0, :2].tolist() == [0.0, pytest.approx(0.5)]
    assert np.isnan(values[0, 2:]).all()  # nothing in common; no text


def test_written_forms_of_one_language_have_texts_of_their_own():
    counts = {"characters": {"zh_Hant": {"漢": 3, "字": 1}, "zh_Hans": {"汉": 3, "字": 1}, "ja": {"漢": 3, "字": 1}}}
    ranking = rank("zh_Hant", ["zh_Hans", "ja"], "characters", TextDistances("texts", counts, {}))
    assert [one.code for one in ranking.related] == ["ja", "zh_Hans"]
    shares = (3 / 4, 1 / 4)
    entropy = -sum(share * log2(share) for share in shares)
    mixed = -2 * (3 / 8) * log2(3 / 8) - (1 / 4) * log2(1 / 4)
    assert ranking.related[1].distance == pytest.approx(mixed - entropy)


def test_a_text_that_is_too_short_says_how_much_more_it_takes():
    assert SHORTEST["overlap"] == 200
    assert too_short("overlap", {"a": 40, "b": 10}) == (
        "the text has 50 subword pieces, and a comparison needs 200, 4 times as much text or more"
    )
    assert too_short("overlap", {"a": 199, "b": 1}) == ""
    assert too_short("characters", {}) == "the text has 0 character trigrams, and a comparison needs 300"


def test_why_a_language_has_no_distance_is_a_note_of_the_ranking():
    source = TextDistances(
        "texts", {"overlap": {"gl": {"o": 1}, "pt": {"o": 1}}}, {"overlap": {"es": "es: too little"}}
    )
    ranking = rank("gl", ["pt", "es"], "overlap", source)
    assert ranking.missing == (("es", ("overlap",)),) and "es: too little" in ranking.notes
