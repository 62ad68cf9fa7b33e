"""Rows of different lengths come back as they went in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.tokens.ragged_file import BATCH, RaggedFile, write_ragged

ids = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=6)


@given(st.lists(st.tuples(ids, ids), max_size=8))
def test_rows_come_back_as_they_went_in(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("ragged") / "a.arrow"
    write_ragged(path, ["a", "b"], rows, {"note": 3})
    file = RaggedFile(path)
    assert [(file.row("a", i).tolist(), file.row("b", i).tolist()) for i in range(len(file))] == rows
    assert file.lengths("b").tolist() == [len(b) for _, b in rows]
    assert file.meta == {"note": 3}


def test_more_rows_than_one_batch_are_found_again(tmp_path):
    lengths = np.random.default_rng(0).integers(0, 5, 2 * BATCH + 17)
    meta = {"rows": 0}

    def rows():
        for number, length in enumerate(lengths):
            meta["rows"] += 1
            yield [[number] * length]

    write_ragged(tmp_path / "a.arrow", ["a"], rows(), meta)
    file = RaggedFile(tmp_path / "a.arrow")
    assert len(file) == len(lengths) == file.meta["rows"]
    assert np.array_equal(file.lengths("a"), lengths)
    for number in (0, BATCH - 1, BATCH, 2 * BATCH, len(lengths) - 1):
        assert file.row("a", number).tolist() == [number] * lengths[number]
    with pytest.raises(IndexError):
        file.row("a", len(lengths))


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path):
    def rows():
        yield [[1]]
        raise RuntimeError("the data ends here")

    with pytest.raises(RuntimeError, match="ends here"):
        write_ragged(tmp_path / "a.arrow", ["a"], rows(), {})
    assert not list(tmp_path.iterdir())
