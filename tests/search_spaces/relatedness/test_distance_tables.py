import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from jobs.errors import InputError
from search_spaces.relatedness.distance_tables import load_precomputed
from search_spaces.relatedness.ranking import rank
from search_spaces.relatedness.selection import nearest
from tests.search_spaces.relatedness.pairwise import distance

# Nearest languages by the published table, whose macro-language codes have no data and are left out here.
BY_SYNTAX = {"bg": "es", "de": "ru", "el": "es", "fr": "es", "hi": "ur", "ru": "de", "ur": "hi", "vi": "bg"}
BY_ALL_SIX = {"bg": "ru", "el": "es", "es": "fr", "fr": "de", "hi": "ur", "ru": "bg", "ur": "hi", "vi": "ru"}


@pytest.fixture(scope="module")
def published() -> Path:
    folder = Path(os.environ.get("ADAPTERFLEET_TEST_DATA", Path(__file__).parents[3].with_name("shared") / "data"))
    table = folder / "uriel" / "published.tsv"
    if not table.is_file():
        pytest.skip("the published lang2vec distances are not here: set ADAPTERFLEET_TEST_DATA")
    return table


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The layout of lang2vec's distances2.zip, in small: an upper triangle a kind, and the order of its rows."""
    codes = ["spa", "glg", "por", "ara", "swa", "slk"]
    upper = np.triu(np.arange(36).reshape(6, 6) / 100, 1)
    (tmp_path / "distances_languages.txt").write_text(",".join(codes) + ",", encoding="utf-8")
    with zipfile.ZipFile(tmp_path / "distances2.zip", "w") as out:
        for member, form in (
            ("syntactic_upper_round2_sparse.npz", "csr"),
            ("geographic_upper_round1_sparse.npz", "csc"),
        ):
            stored = io.BytesIO()
            sparse.save_npz(stored, sparse.coo_array(upper).asformat(form))
            out.writestr(member, stored.getvalue())
    return tmp_path / "distances2.zip"


def _table(folder: Path, *rows: str) -> Path:
    path = folder / "table.tsv"
    path.write_text("\n".join(("a\tb\tkind\tdistance", *rows)) + "\n", encoding="utf-8")
    return path


def test_a_text_table_answers_with_its_own_values_in_both_directions(published):
    source = load_precomputed(published, ["en", "fr", "zh"])
    assert distance("syntactic", "en", "fr", source) == 0.46
    assert distance("syntactic", "fr", "en", source) == 0.46
    assert source.name.startswith("precomputed table published.tsv (sha256 ")


def test_results_from_a_table_name_it_as_their_source(published):
    pool = ["en", "es", "de"]
    assert rank("fr", pool, "syntactic", load_precomputed(published, [*pool, "fr"])).source.startswith(
        "precomputed table published.tsv"
    )


@pytest.mark.parametrize(("by", "expected"), [("syntactic", BY_SYNTAX), ("all", BY_ALL_SIX)])
def test_the_published_table_gives_the_published_nearest_languages(published, by, expected):
    pool = ["bg", "de", "el", "es", "fr", "hi", "ru", "ur", "vi"]
    source = load_precomputed(published, pool)
    found = {target: nearest(target, pool, by, source=source).chosen[0].code for target in expected}
    assert found == expected


def test_a_pair_that_is_not_in_the_table_is_missing_and_not_zero(tmp_path):
    source = load_precomputed(_table(tmp_path, "gl\tes\tsyntactic\t0.3"), ["gl", "es", "pt"])
    assert rank("gl", ["es", "pt"], source=source).missing == (("pt", ("syntactic",)),)
    with pytest.raises(InputError, match="does not exist for gl and pt"):
        distance("syntactic", "gl", "pt", source)


def test_every_faulty_row_is_named_with_its_line(tmp_path):
    path = _table(
        tmp_path,
        "gl\tes\tsyntactic\t0.3",
        "gl\tjp\tsyntactic\t0.3",
        "gl\tes\tlexical\t0.3",
        "gl\tpt\tsyntactic\tnan",
        "es\tgl\tsyntactic\t0.4",
    )
    with pytest.raises(InputError) as caught:
        load_precomputed(path, ["gl", "es", "pt"])
    assert [fault.where.rsplit(":", 1)[1] for fault in caught.value.faults] == ["3", "4", "5", "6"]


def test_a_table_without_a_needed_column_is_refused(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text("a\tb\tdistance\n", encoding="utf-8")
    with pytest.raises(InputError, match="lacks the column kind"):
        load_precomputed(path, ["gl"])


def test_a_table_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_precomputed(tmp_path / "none.tsv", ["gl"])


def test_the_archive_of_lang2vecs_repository_is_read_in_either_sparse_form(archive):
    source = load_precomputed(archive, ["pt", "es", "gl"])
    assert set(source.kinds) == {"syntactic", "geographic"}
    for kind in source.kinds:
        assert distance(kind, "es", "gl", source) == pytest.approx(0.01)
        assert distance(kind, "pt", "gl", source) == pytest.approx(0.08)
        assert distance(kind, "gl", "gl", source) == 0.0


def test_only_the_kinds_asked_for_are_read(archive, tmp_path):
    assert load_precomputed(archive, ["gl", "es"], ["geographic"]).kinds == ("geographic",)
    path = _table(tmp_path, "gl\tes\tsyntactic\t0.3", "gl\tes\tgenetic\t0.2")
    assert load_precomputed(path, ["gl", "es"], ["genetic"]).kinds == ("genetic",)


def test_a_language_the_archive_was_made_without_data_for_is_missing(archive):
    """The published table compares Slovak as if it had every feature."""
    source = load_precomputed(archive, ["gl", "sk", "es"])
    assert rank("gl", ["sk", "es"], "syntactic", source).missing == (("sk", ("syntactic",)),)
    assert rank("gl", ["sk", "es"], "geographic", source).missing == ()


def test_a_macro_language_of_the_archive_is_never_taken_for_its_member(archive):
    source = load_precomputed(archive, ["gl", "ar", "es"])
    assert rank("gl", ["ar", "es"], "syntactic", source).missing == (("ar", ("syntactic",)),)


def test_an_archive_without_the_order_of_its_rows_is_refused(archive):
    archive.with_name("distances_languages.txt").unlink()
    with pytest.raises(InputError, match="order of the table's languages"):
        load_precomputed(archive, ["gl", "es"])


def test_an_archive_without_tables_is_refused(archive):
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("readme.txt", "nothing")
    with pytest.raises(InputError, match="holds no table"):
        load_precomputed(archive, ["gl", "es"])


def test_a_truncated_table_in_the_archive_is_refused_with_its_name(archive):
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("genetic_upper_sparse.npz", b"PK\x03\x04 cut off")
    with pytest.raises(InputError, match=r"distances2.zip:genetic_upper_sparse.npz: a sparse table cannot be read"):
        load_precomputed(archive, ["gl", "es"])


def test_a_row_that_ends_early_is_named(tmp_path):
    with pytest.raises(InputError, match=r"table.tsv:2: a distance is no number"):
        load_precomputed(_table(tmp_path, "gl\tes\tsyntactic"), ["gl", "es"])
