import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.errors import InputError
from jobs.spec import JobResult
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.record import CorruptArtifactError, dump_record, parse_record
from tests.orchestrator.toy_steps import A, B, commit

ROOT = Path(__file__).parents[3]


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "ws")


def test_a_committed_step_is_found_with_all_its_files(store):
    staging = store.stage(A)
    (staging / "deep" / "er").mkdir(parents=True)
    (staging / "deep" / "er" / "w.bin").write_bytes(b"123")
    record = store.commit(A, staging, JobResult({"loss": 1.0}, {"loss": [(1.0, 2.0)]}, {"x": [1]}), {"host": "h"})
    assert store.has(A) and store.find(A) == record
    assert ArtifactStore(store.root).find(A) == record
    assert list(record.files) == ["deep/er/w.bin"] and record.files["deep/er/w.bin"][1] == 3
    assert record.inputs == {"theta_pre": A.inputs[0][1].key}
    assert not staging.exists() and not store.has(B) and store.find(B) is None


def test_a_checkpoint_that_a_kill_left_beside_a_finished_step_goes_with_the_next_run(store):
    commit(store, A)
    for step in (A, B):
        store.checkpoint(step).mkdir(parents=True)
    store.drop_spent_checkpoints()
    assert not store.checkpoint(A).exists() and store.checkpoint(B).exists()


def test_a_record_survives_its_own_text(store):
    commit(store, A)
    record = store.find(A)
    assert parse_record(dump_record(record)) == record


def test_a_commit_deletes_the_checkpoint_and_a_stage_begins_empty(store):
    store.checkpoint(A).mkdir(parents=True)
    (store.stage(A) / "half").write_text("x")
    assert not list(store.stage(A).iterdir())
    commit(store, A)
    assert not store.checkpoint(A).exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from orchestrator.store import artifacts as module
from tests.orchestrator.toy_steps import A
from jobs.spec.call import JobResult
store = module.ArtifactStore(Path(sys.argv[1]))
staging = store.stage(A)
(staging / "adapter.txt").write_text("adapter")
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
place, name = {"before the record": (module, "dump_record"), "before the rename": (type(staging), "replace")}[sys.argv[2]]
setattr(place, name, die)
store.commit(A, staging, JobResult(), {})
"""


@pytest.mark.parametrize("moment", ["before the record", "before the rename"])
def test_a_kill_inside_a_commit_leaves_nothing_visible(store, moment):
    answer = subprocess.run(
        [sys.executable, "-c", KILLED, str(store.root), moment],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert answer.returncode == -signal.SIGKILL
    assert (store.staging(A) / "adapter.txt").is_file()
    assert not store.has(A) and store.find(A) is None and list(store.records()) == []
    commit(store, A)
    assert store.find(A) is not None and not list(store.path(A.key).glob(".*"))


def test_a_torn_record_is_corrupt_and_never_a_record(store):
    folder = commit(store, A)
    whole = (folder / "record.json").read_bytes()
    for torn in (whole[: len(whole) // 2], b"", b"[1, 2]", b"{}", b"\xff\xfe", b'{"format": 1}', b"null"):
        (folder / "record.json").write_bytes(torn)
        with pytest.raises(CorruptArtifactError):
            store.find(A)


def test_a_record_of_another_format_or_another_step_is_not_taken(store):
    folder = commit(store, A)
    content = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps({**content, "format": 99}))
    with pytest.raises(CorruptArtifactError, match="record format 99"):
        store.find(A)
    (folder / "record.json").write_text(json.dumps({**content, "fingerprint": "0" * 64}))
    with pytest.raises(CorruptArtifactError, match="is of fingerprint 0000"):
        store.find(A)


def test_broken_records_are_the_caller_s_to_judge(store):
    commit(store, B)
    (commit(store, A) / "record.json").write_text("{")
    with pytest.raises(CorruptArtifactError):
        list(store.records())
    broken = []
    assert [record.key for record in store.records(broken.append)] == [B.key]
    assert len(broken) == 1 and A.key in str(broken[0])


def test_every_missing_truncated_and_changed_file_is_named(store):
    staging = store.stage(A)
    for name in ("gone", "short", "changed", "whole"):
        (staging / name).write_text("adapter")
    record = store.commit(A, staging, JobResult(), {})
    store.verify(record)
    folder = store.path(A.key)
    (folder / "gone").unlink()
    (folder / "short").write_text("adapt")
    (folder / "changed").write_text("Adapter")
    with pytest.raises(CorruptArtifactError) as caught:
        store.verify(record)
    for said in ("gone is missing", "short has 5 bytes, not 7", "changed has changed"):
        assert said in str(caught.value)
    assert "whole" not in str(caught.value)
    with pytest.raises(CorruptArtifactError) as caught:
        store.verify_sizes(record)
    assert "short has 5 bytes" in str(caught.value) and "changed" not in str(caught.value)


def test_a_rejected_artifact_is_moved_and_its_bytes_are_kept(store):
    commit(store, A, "old")
    place = store.reject(A.key)
    assert (place / "adapter.txt").read_text() == "old" and place.is_relative_to(store.root / "rejected")
    assert not store.has(A) and store.find(A) is None


def test_what_stands_where_a_step_is_committed_is_moved_away(store):
    commit(store, A, "old")
    commit(store, A, "new")
    assert (store.path(A.key) / "adapter.txt").read_text() == "new"
    assert len(list((store.root / "rejected").glob("*/*"))) == 1


def test_a_directory_without_a_record_is_no_finished_step(store):
    store.path(A.key).mkdir(parents=True)
    assert store.find(A) is None
    commit(store, A)
    assert store.find(A) is not None


def test_a_workspace_of_another_version_is_refused(tmp_path):
    marker = tmp_path / "ws" / "workspace.json"
    ArtifactStore(tmp_path / "ws")
    marker.write_text('{"format": 99}')
    with pytest.raises(InputError, match=r"another version of adapterfleet.*format 99"):
        ArtifactStore(tmp_path / "ws")
    for text in ("{", "[]", "3", '{"a": 1}'):
        marker.write_text(text)
        with pytest.raises(InputError, match="not a workspace"):
            ArtifactStore(tmp_path / "ws")


def test_numbers_that_are_none_are_not_committed(store):
    staging = store.stage(A)
    with pytest.raises(ValueError, match="JSON"):
        store.commit(A, staging, JobResult({"loss": float("nan")}), {})
    assert store.find(A) is None


def test_a_full_disk_leaves_no_half_artifact(tiny_disk):
    store = ArtifactStore(tiny_disk / "ws")
    staging = store.stage(A)
    (staging / "adapter.txt").write_text("adapter")
    filler = tiny_disk / "filler"
    with pytest.raises(OSError), filler.open("wb", buffering=0) as stream:
        while True:
            stream.write(b"x" * 512)
    with pytest.raises(OSError) as caught:
        store.commit(A, staging, JobResult(details={"long": "x" * 9000}), {})
    assert caught.value.errno == errno.ENOSPC
    assert not store.has(A) and store.find(A) is None and list(store.records()) == []
    filler.unlink()
    commit(store, A)
    store.verify(store.find(A))


def test_a_disk_that_takes_no_writing_leaves_no_half_artifact(tiny_disk):
    store = ArtifactStore(tiny_disk / "ws")
    staging = store.stage(A)
    (staging / "adapter.txt").write_text("adapter")
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    with pytest.raises(OSError):
        store.commit(A, staging, JobResult(), {})
    assert store.find(A) is None
    subprocess.run(["mount", "-o", "remount,rw", str(tiny_disk)], check=True)
    shutil.rmtree(staging)
    commit(store, A)
