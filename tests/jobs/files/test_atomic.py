import os
import stat

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


def test_a_file_has_the_permissions_of_any_other_new_file(tmp_path):
    """Libraries make files that nobody else may read; a second user could not go on from such a checkpoint."""
    (tmp_path / "plain").write_text("")
    with replacing(tmp_path / "state") as tmp:
        os.close(os.open(tmp, os.O_CREAT | os.O_WRONLY, 0o600))
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "state")}
    assert len(modes) == 1
