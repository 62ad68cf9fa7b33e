from collections import Counter
from math import log

import numpy as np
import pytest

from jobs.errors import InputError
from search_spaces.relatedness.codes import resolve_languages
from search_spaces.relatedness.distance_tables import load_precomputed, table_text
from search_spaces.relatedness.distances import distance_source, parse_kinds
from search_spaces.relatedness.model_distances import ModelDistances, loss_distance, neighbour_shares, vector_distance
from search_spaces.relatedness.ranking import rank
from search_spaces.relatedness.selection import nearest


def counted(target, sources, k):
    """All products of one token with all source tokens, sorted in plain Python; the languages of the k greatest."""
    found = Counter(dict.fromkeys(sources, 0))
    for token in target.tolist():
        scored = [
            (sum(a * b for a, b in zip(token, other, strict=True)), language)
            for language, states in sources.items()
            for other in states.tolist()
        ]
        found.update(language for _, language in sorted(scored, key=lambda one: -one[0])[:k])
    return found


@pytest.mark.parametrize("k", [1, 5, 200])
def test_neighbours_are_counted_over_the_tokens_of_all_languages_as_one_set(k):
    rng = np.random.default_rng(3)
    target = rng.standard_normal((40, 6)).astype(np.float32)
    sources = {
        code: rng.standard_normal((n, 6)).astype(np.float32) for code, n in {"pt": 30, "es": 2, "fr": 25}.items()
    }
    shares = neighbour_shares(target, sources.items(), k)
    counts = counted(target, sources, k)
    assert sum(counts.values()) == 40 * min(k, 57)
    assert shares == {code: pytest.approx(count / counts.total()) for code, count in counts.items()}


def test_neighbours_by_hand():
    """Inner products, not cosines: the long vector of Spanish is nearest though Portuguese has the direction."""
    target = np.array([[1.0, 0.0]], dtype=np.float32)
    sources = {"pt": np.array([[1.0, 0.0]], np.float32), "es": np.array([[3.0, 3.0], [-1.0, 0.0]], np.float32)}
    assert neighbour_shares(target, sources.items(), 1) == {"pt": 0.0, "es": 1.0}
    assert neighbour_shares(target, sources.items(), 2) == {"pt": 0.5, "es": 0.5}
    assert neighbour_shares(target, {}.items()) == {}


def test_losses_and_cosines_become_distances_in_their_order():
    assert loss_distance(log(8000) / 4, 8000) == pytest.approx(0.25)
    assert loss_distance(0.0, 8000) == 0.0 and loss_distance(20.0, 8000) == 1.0
    assert [vector_distance(cosine) for cosine in (1.0, 0.0, -1.0, 1.0 + 1e-12)] == [0.0, 0.5, 1.0, 0.0]


MEASURED = ModelDistances("measured", "loss", {"gl": {"pt": 0.25, "es": 0.5}}, {"fr": "fr: no adapter"})


def test_what_was_not_measured_is_missing_and_remarked_on():
    ranking = rank("gl", ["es", "pt", "fr"], "loss", MEASURED)
    assert [(one.code, one.distance) for one in ranking.related] == [("pt", 0.25), ("es", 0.5)]
    assert ranking.missing == (("fr", ("loss",)),) and "fr: no adapter" in ranking.notes


def test_a_measured_table_is_read_back_to_the_last_digit_and_in_its_direction(tmp_path):
    rows = [("gl", "pt", "loss", 1 / 3), ("pt", "gl", "loss", 0.5), ("gl", "es", "vectors", 0.1)]
    table = tmp_path / "measured.tsv"
    table.write_text(table_text(rows))
    source = load_precomputed(table, ["gl", "pt", "es"])
    assert source.kinds == ("loss", "vectors")
    languages = resolve_languages(["gl", "pt", "es"])
    assert source.matrix("loss", languages, languages)[0, 1] == 1 / 3
    assert source.matrix("loss", languages, languages)[1, 0] == 0.5
    assert np.isnan(source.matrix("loss", languages, languages)[2, 0])  # nothing said of Spanish as a target
    vectors = source.matrix("vectors", languages, languages)
    assert vectors[0, 2] == vectors[2, 0] == 0.1
    assert nearest("gl", ["pt", "es"], "loss", source=source).chosen[0].code == "pt"


def test_a_table_says_what_its_distances_were_made_from(tmp_path):
    rows = [("gl", "pt", "few-steps", 0.25), ("ca", "pt", "few-steps", 0.5)]
    text = table_text(rows, {"gl": "10 steps\ton a text", "ca": "20 steps"})
    assert text.splitlines()[0].split("\t") == ["a", "b", "kind", "distance", "source"]
    assert [line.split("\t")[-1] for line in text.splitlines()[1:]] == ["10 steps on a text", "20 steps"]
    (table := tmp_path / "measured.tsv").write_text(text)
    source = load_precomputed(table, ["gl", "ca", "pt"])
    languages = resolve_languages(["gl", "ca", "pt"])
    assert source.matrix("few-steps", languages, languages)[:2, 2].tolist() == [0.25, 0.5]
    assert np.isnan(source.matrix("few-steps", languages, languages)[2, 0]), "nothing said of Portuguese as a target"


def test_written_forms_of_one_language_have_rows_of_their_own(tmp_path):
    table = tmp_path / "measured.tsv"
    table.write_text(table_text([("ja", "zh", "loss", 0.2), ("ja", "zh_Hant", "loss", 0.1)]))
    source = load_precomputed(table, ["ja", "zh_Hant", "cmn"])
    assert [one.code for one in rank("ja", ["cmn", "zh_Hant"], "loss", source).related] == ["zh_Hant", "cmn"]
    table.write_text(table_text([("ja", "zh", "loss", 0.2)]))
    plain = load_precomputed(table, ["ja", "zh_TW"])  # a form that the table does not have is the language
    assert rank("ja", ["zh_TW"], "loss", plain).related[0].distance == 0.2


def test_a_model_s_kind_that_the_source_lacks_says_how_it_is_measured():
    with pytest.raises(InputError, match="measure it with `adapterfleet languages related --out TABLE`"):
        parse_kinds("neighbours", distance_source("uriel", ["gl"]))
