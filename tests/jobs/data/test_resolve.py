"""Patterns become pinned references; whatever is missing is named, all of it at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from jobs.data import cldr, digests
from jobs.data.digests import directory_files, file_digest, files_digest
from jobs.data.load import load_text
from jobs.data.resolve import DataRequest, data_ref
from jobs.errors import InputError
from jobs.spec import DataRef

PATTERN = "{data}/{language}/{split}.txt"


def make(root, language="gl", **texts):
    (root / language).mkdir(parents=True, exist_ok=True)
    for split, text in texts.items():
        (root / language / f"{split}.txt").write_text(text)


def request(root, **changes):
    values = {"source": "text", "language": "gl", "files": PATTERN, "variables": {"data": str(root)}}
    return DataRequest(**{**values, **changes})


def test_a_pattern_finds_the_files_that_are_there(tmp_path):
    make(tmp_path, train="a\n", test="b\n")
    data = data_ref(request(tmp_path, needed=("train", "test")), tmp_path / "cache")
    assert dict(data.files) == {s: str(tmp_path / "gl" / f"{s}.txt") for s in ("train", "test")}
    assert data.revision.startswith("sha256:")
    assert list(load_text(data, "test", tmp_path / "cache")) == ["b"]


def test_the_revision_follows_the_bytes_and_not_the_place(tmp_path):
    make(tmp_path / "one", train="a\n", test="b\n")
    make(tmp_path / "two", train="a\n", test="b\n")
    make(tmp_path / "three", train="b\n", test="a\n")
    one, two, three = (data_ref(request(tmp_path / n), tmp_path / "cache") for n in ("one", "two", "three"))
    assert one == two and one.files != two.files
    assert one.revision != three.revision


def test_a_file_named_without_split_is_for_training(tmp_path):
    make(tmp_path, train="a\n")
    given = request(tmp_path, files="gl/train.txt", base=tmp_path, hold_out=0.1, needed=("train", "test"))
    assert data_ref(given, tmp_path / "cache").files == (("train", str(tmp_path / "gl" / "train.txt")),)


def test_splits_may_have_names_of_their_own(tmp_path):
    make(tmp_path, train="a\n", dev="b\n")
    data = data_ref(
        request(tmp_path, splits=(("validation", "dev"),), needed=("train", "validation")), tmp_path / "cache"
    )
    assert dict(data.files)["validation"].endswith("dev.txt")


def test_every_missing_file_and_unknown_variable_is_named(tmp_path):
    make(tmp_path, train="a\n")
    with pytest.raises(InputError) as caught:
        data_ref(request(tmp_path, needed=("train", "validation", "test")), tmp_path / "cache")
    assert [fault.got.rsplit("/", 1)[1] for fault in caught.value.faults] == ["validation.txt", "test.txt"]
    with pytest.raises(InputError, match=r"unknown variable \{dta\}.*known: data, language, split"):
        data_ref(request(tmp_path, files="{dta}/{language}.txt"), tmp_path / "cache")
    with pytest.raises(InputError, match=r"put \{split\} into the pattern"):
        data_ref(request(tmp_path, files="{data}/gl/train.txt", needed=("test",)), tmp_path / "cache")


def test_hold_out_stands_in_for_files_only_where_train_exists(tmp_path):
    make(tmp_path, train="a\n")
    make(tmp_path, "pt", test="a\n")
    needed = ("train", "validation")
    assert data_ref(request(tmp_path, hold_out=0.1, needed=needed), tmp_path / "cache")
    with pytest.raises(InputError, match=r"train\.txt"):
        data_ref(request(tmp_path, hold_out=0.1, needed=needed, language="pt"), tmp_path / "cache")


def test_hub_names_need_a_commit_and_directories_need_none(tmp_path):
    hub = request(tmp_path, source="hub", dataset="wikimedia/wikipedia", subset="20231101.{language}", files="")
    with pytest.raises(InputError, match="no pinned revision"):
        data_ref(hub, tmp_path / "cache")
    pinned = request(
        tmp_path, source="hub", dataset="wikimedia/wikipedia", subset="20231101.{language}", revision="a" * 40
    )
    data = data_ref(pinned, tmp_path / "cache")
    assert (data.dataset, data.subset, data.revision) == ("wikimedia/wikipedia", "20231101.gl", "a" * 40)
    make(tmp_path / "set", train="a\n")
    local = data_ref(request(tmp_path, source="hub", dataset="{data}/set"), tmp_path / "cache")
    assert local.dataset == "set" and local.files == (("directory", str(tmp_path / "set")),)
    assert local.revision == files_digest(directory_files(tmp_path / "set"), tmp_path / "cache")


def test_the_embedded_data_is_pinned_by_its_release(tmp_path):
    assert data_ref(DataRequest("cldr", "gl"), tmp_path).revision == cldr.REVISION


@pytest.fixture
def settled(monkeypatch):
    """As if nothing had been written for a while."""
    monkeypatch.setattr(digests, "_UNSETTLED_NS", -1)


def test_a_digest_is_remembered_and_follows_a_change(tmp_path, settled):
    path = tmp_path / "a.txt"
    path.write_text("one")
    os.utime(path, (1, 1))
    first = file_digest(path, tmp_path / "cache")
    (entry,) = (tmp_path / "cache" / "digests").iterdir()
    assert first in entry.read_text()
    entry.write_text(entry.read_text().replace(first, "sha256:remembered"))
    assert file_digest(path, tmp_path / "cache") == "sha256:remembered"
    path.write_text("two")
    assert file_digest(path, tmp_path / "cache") not in (first, "sha256:remembered")
    entry.write_text("[")
    os.utime(path, (1, 1))
    path.write_text("one")
    assert file_digest(path, tmp_path / "cache") == first


def test_a_file_written_just_now_is_not_remembered(tmp_path):
    path = tmp_path / "a.txt"
    for moment in (None, (1, 1)):  # an archive sets the time of writing, not that of its own coming
        path.write_text("one")
        os.utime(path, moment)
        file_digest(path, tmp_path / "cache")
        assert not (tmp_path / "cache" / "digests").exists()


@pytest.mark.parametrize("anew", [True, False], ids=["replaced", "overwritten"])
def test_other_bytes_of_the_same_size_and_time_of_writing_are_seen(tmp_path, settled, anew):
    path, other = tmp_path / "a.txt", tmp_path / "b.txt"
    path.write_text("one")
    os.utime(path, (1, 1))
    data = DataRef("text", "gl", "", files=(("train", str(path)),))
    assert list(load_text(data, "train", tmp_path / "cache")) == ["one"]
    first = file_digest(path, tmp_path / "cache")
    if anew:
        other.write_text("two")
        other.rename(path)
    else:
        time.sleep(0.02)  # coarser than which no clock of files is
        path.write_text("two")
    os.utime(path, (1, 1))
    assert file_digest(path, tmp_path / "cache") != first
    assert list(load_text(data, "train", tmp_path / "cache")) == ["two"]


def test_planning_needs_neither_torch_nor_datasets():
    code = (
        "import sys, jobs.data.resolve; print([m for m in ('torch', 'datasets', 'transformers') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
