import pytest

from jobs.files.atomic import replacing, write_text


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    file = tmp_path / "below" / "state.json"
    write_text(file, "old")
    with pytest.raises(RuntimeError), replacing(file) as tmp:
        tmp.write_text("half of the n")
        raise RuntimeError
    assert file.read_text() == "old" and list(file.parent.iterdir()) == [file]


def test_writers_may_race(tmp_path):
    file = tmp_path / "state.json"
    with replacing(file) as first, replacing(file) as second:
        first.write_text("first")
        second.write_text("second")
        assert not file.exists()
    assert file.read_text() == "first" and list(tmp_path.iterdir()) == [file]
