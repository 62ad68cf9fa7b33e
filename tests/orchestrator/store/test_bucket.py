"""One contract for workspaces in a directory, in a bucket of a real S3 server, and in fsspec's memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.errors import InputError
from jobs.files.bucket import Bucket, BucketError
from jobs.files.call_directories import CallDirectories, scratch_of
from jobs.files.objects import object_key
from jobs.files.sync import BucketSync
from jobs.spec import JobResult
from orchestrator.execution.event_log import read_status
from orchestrator.execution.loop import execute
from orchestrator.store.artifacts import ArtifactStore, open_store, workspace_path
from orchestrator.store.garbage import find_garbage, remove_garbage
from orchestrator.store.lease import Lease
from orchestrator.store.lock import run_lock
from orchestrator.store.record import CorruptArtifactError
from tests.orchestrator.s3_server import CREDENTIALS, free_port
from tests.orchestrator.toy_steps import AB, STEPS, TOP, A, B, ToyExecutor, commit, job

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["memory", "s3"])
def bucket_place(request, tmp_path, monkeypatch):
    """The address of an empty workspace in a bucket."""
    monkeypatch.setenv("ADAPTERFLEET_SCRATCH", str(tmp_path / "scratch"))
    if request.param == "s3":
        request.getfixturevalue("s3")
    return f"{request.param}://fleet/{uuid.uuid4().hex}"


@pytest.fixture(params=["directory", "memory", "s3"])
def place(request, tmp_path, monkeypatch):
    """The address of an empty workspace of any kind."""
    monkeypatch.setenv("ADAPTERFLEET_SCRATCH", str(tmp_path / "scratch"))
    if request.param == "directory":
        return str(tmp_path / "ws")
    if request.param == "s3":
        request.getfixturevalue("s3")
    return f"{request.param}://fleet/{uuid.uuid4().hex}"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Go on as another machine: with a scratch of its own."""

    def move(place: str) -> ArtifactStore:
        monkeypatch.setenv("ADAPTERFLEET_SCRATCH", str(tmp_path / f"scratch-{uuid.uuid4().hex}"))
        return opened(place)

    return move


def opened(place: str) -> ArtifactStore:
    return open_store(workspace_path(place))


def carry_out(store: ArtifactStore, steps=STEPS):
    directories, ran = CallDirectories(), []

    def at_work(work):
        ran.append(work.step.key)
        call = directories.create(work.call)
        return directories.stage_out(call, job(replace(work, call=call)))

    return execute(steps, store, ToyExecutor(at_work), lambda event: None, {}), ran


def test_a_committed_step_is_found_with_all_its_files(place):
    store = opened(place)
    staging = store.stage(A)
    (staging / "deep" / "er").mkdir(parents=True)
    (staging / "deep" / "er" / "w.bin").write_bytes(b"123")
    record = store.commit(A, staging, JobResult({"loss": 1.0}, {"loss": [(1.0, 2.0)]}, {"x": [1]}), {"host": "h"})
    for again in (store, opened(place)):
        assert again.has(A) and again.find(A) == record and not again.has(B) and again.find(B) is None
        assert (again.fetch(A.key) / "deep" / "er" / "w.bin").read_bytes() == b"123"
        again.verify(record)
        again.verify_sizes(record)
    assert not staging.exists()


def test_every_step_runs_once_and_another_machine_goes_on_from_the_workspace(place, elsewhere):
    first, ran = carry_out(opened(place), STEPS[:-2])
    assert not first.errors and len(ran) == len(STEPS) - 2
    second, ran = carry_out(elsewhere(place) if "://" in place else opened(place))
    assert not second.errors and ran == [STEPS[-2].key, TOP.key]
    store = opened(place)
    assert "theta" in (store.fetch(TOP.key) / "adapter.txt").read_text()
    third, ran = carry_out(store)
    assert third.count("reused") == len(STEPS) and not ran


def test_a_workspace_of_another_version_is_refused(place, tmp_path):
    store = opened(place)
    text = json.dumps({"format": 99})
    if "://" in place:
        store.backend.bucket.write("workspace.json", text.encode())
    else:
        (store.root / "workspace.json").write_text(text)
    with pytest.raises(InputError, match="another version of adapterfleet.*format 99"):
        opened(place)


@pytest.mark.parametrize("damage", ["missing", "truncated", "changed"])
def test_a_damaged_object_is_found_and_its_step_computed_again(bucket_place, elsewhere, damage):
    store = opened(bucket_place)
    carry_out(store, STEPS[:-1])
    digest, size = store.find(AB).files["adapter.txt"]
    if damage == "missing":
        store.backend.bucket.delete([object_key(digest)])
    else:
        store.backend.bucket.write(object_key(digest), b"x" * (size if damage == "changed" else size - 1))
    store = elsewhere(bucket_place)
    with pytest.raises(CorruptArtifactError, match=r"merge/ab-ner-s1"):
        store.verify(store.find(AB))
    summary, ran = carry_out(store)
    assert not summary.errors and ran == [AB.key, TOP.key]
    assert AB.key in summary.notes[0]
    store.verify(store.find(AB))


def test_a_torn_upload_is_invisible(bucket_place, elsewhere):
    store = opened(bucket_place)

    def dies(key, content):
        raise ConnectionError("the driver dies before the record is written")

    store.backend.bucket.create = dies
    with pytest.raises(ConnectionError):
        commit(store, A)
    assert store.backend.bucket.list("objects")
    again = elsewhere(bucket_place)
    assert not again.has(A) and not list(again.records())


def test_of_two_commits_the_first_stands(bucket_place, elsewhere):
    one = opened(bucket_place)
    other = elsewhere(bucket_place)
    commit(one, A, "first")
    commit(other, A, "second")
    assert (opened(bucket_place).fetch(A.key) / "adapter.txt").read_text() == "first"
    assert (other.fetch(A.key) / "adapter.txt").read_text() == "first"


def test_names_that_leave_the_directory_are_refused(bucket_place, elsewhere):
    store = opened(bucket_place)
    commit(store, A)
    key = f"artifacts/{A.key}/record.json"
    record = json.loads(store.backend.bucket.read(key))
    record["files"]["../../escaped.txt"] = record["files"].pop("adapter.txt")
    store.backend.bucket.write(key, json.dumps(record).encode())
    store = elsewhere(bucket_place)
    with pytest.raises(CorruptArtifactError, match="leaves its directory"):
        store.fetch(A.key)
    assert not list(store.root.parent.rglob("escaped.txt"))


def test_checkpoints_follow_to_another_node_and_go_with_the_commit(bucket_place, elsewhere):
    store = opened(bucket_place)
    bucket, there = store.backend.bucket, f"checkpoints/{A.key}"
    replica = BucketSync(bucket, every=3600)
    folder = store.checkpoint(A)
    replica.watch(there, folder)
    folder.mkdir(parents=True)
    (folder / "training-1.safetensors").write_bytes(b"one")
    replica.sync()
    (folder / "training-1.safetensors").unlink()
    (folder / "training-2.safetensors").write_bytes(b"two")
    (folder / ".training-3.safetensors.17").write_bytes(b"half")
    replica.close()
    assert list(bucket.list(there)) == [f"{there}/training-2.safetensors"]
    store = elsewhere(bucket_place)
    BucketSync(store.backend.bucket).restore(there, store.checkpoint(A))
    assert (store.checkpoint(A) / "training-2.safetensors").read_bytes() == b"two"
    commit(store, A)
    assert not bucket.list("checkpoints")
    for step in (A, B):
        bucket.write(f"checkpoints/{step.key}/training-3.safetensors", b"three")
    store.drop_spent_checkpoints()
    assert list(bucket.list("checkpoints")) == [f"checkpoints/{B.key}/training-3.safetensors"]


def test_campaign_files_follow_unless_a_run_writes_them_here(bucket_place, elsewhere):
    store = opened(bucket_place)
    folder = store.root / "campaigns" / "small"
    with store.lease("small"):
        folder.mkdir(parents=True)
        (folder / "status.json").write_text("{}")
        (folder / "run.lock").write_text("mine")
    with run_lock(store.root):
        (folder / "status.json").write_text("newer")
        opened(bucket_place)
        assert (folder / "status.json").read_text() == "newer"
    there = elsewhere(bucket_place).root / "campaigns" / "small"
    assert [file.name for file in there.iterdir()] == ["status.json"]


def test_a_second_run_is_refused_and_told_who_holds_the_lease(bucket_place):
    bucket = opened(bucket_place).backend.bucket
    with Lease(bucket, "small"), pytest.raises(InputError) as refused, Lease(bucket, "other"):
        pass
    words = str(refused.value)
    assert "another run goes on" in words and "campaign small, process " in words and f" {os.getpid()} on " in words
    with Lease(bucket, "other") as lease:
        lease.check()
        assert opened(bucket_place).is_running("other") and not opened(bucket_place).is_running("small")
    assert not bucket.list("locks") and not opened(bucket_place).is_running("other")


def test_of_many_that_come_at_once_one_gets_the_lease(bucket_place):
    bucket = opened(bucket_place).backend.bucket
    barrier, taken, refused = threading.Barrier(6), [], []

    def come(number: int) -> None:
        barrier.wait()
        try:
            with Lease(bucket, f"c{number}"):
                taken.append(number)
                barrier.wait()
        except InputError:
            refused.append(number)
            barrier.wait()

    threads = [threading.Thread(target=come, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1 and len(refused) == 5


def test_a_lease_that_is_renewed_no_more_is_taken_over_and_its_holder_stops(bucket_place, monkeypatch):
    """Clocks of machines may jump as they like: only the server's count. The new one waits for nothing else."""
    bucket = opened(bucket_place).backend.bucket
    held = Lease(bucket, "old", beat=3600, expiry=0.0)
    with held:
        held._me = replace(held._me, process="")  # as if on another machine
        bucket.write("locks/run-00000001.json", held._content())
        monkeypatch.setattr("time.time", lambda: 0.0)
        _wait_for_the_server_s_clock(bucket)
        with Lease(bucket, "new", expiry=0.0) as taken:
            taken.check()
            held._beat = 0.0
            held._renew()
            with pytest.raises(InputError, match="lost the workspace.*taken over by campaign new"):
                held.check()
        assert not bucket.list("locks")


def test_the_lease_of_a_killed_run_on_this_machine_is_free_at_once(bucket_place):
    bucket = opened(bucket_place).backend.bucket
    if bucket.protocol == "memory":
        pytest.skip("memory is of one process")
    code = f"""
import os, signal
from jobs.files.bucket import Bucket
from orchestrator.store.lease import Lease
with Lease(Bucket({bucket.uri!r}), "small"):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    answer = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert answer.returncode == -9 and bucket.list("locks")
    with Lease(bucket, "again") as lease:
        lease.check()


def test_the_scratch_may_be_deleted_at_any_time(bucket_place):
    carry_out(opened(bucket_place))
    shutil.rmtree(scratch_of(bucket_place))
    summary, ran = carry_out(opened(bucket_place))
    assert not ran and summary.count("reused") == len(STEPS)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("s3://missing-bucket/x", "bucket cannot be used.*missing-bucket"),
        ("s3://key:secret-word@bucket/x", r"holds credentials.*s3://\*\*\*@bucket"),
        ("ftp://bucket/x", "not the address of a workspace"),
        ("s3:///x", "not the address of a workspace"),
        ("s3://bucket/../x", "not the address of a workspace"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_line(s3, address, words, tmp_path, monkeypatch):
    monkeypatch.setenv("ADAPTERFLEET_SCRATCH", str(tmp_path))
    with pytest.raises(InputError, match=words) as refused:
        workspace_path(address)
    assert "secret-word" not in str(refused.value) and len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("trouble", ["unreachable", "no credentials"])
def test_a_bucket_that_cannot_be_used_is_one_line_of_the_command_and_shows_no_secret(s3, trouble, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ADAPTERFLEET_SCRATCH": str(tmp_path)}
    if trouble == "unreachable":
        environment["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{free_port()}"
    else:
        environment = {name: value for name, value in environment.items() if not name.startswith("AWS_")}
        environment |= {"AWS_ENDPOINT_URL": s3, "AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    command = [
        sys.executable,
        "-m",
        "orchestrator",
        "report",
        str(ROOT / "campaigns/quickstart.yaml"),
        "-w",
        "s3://fleet/x",
    ]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 2, answer.stderr
    (line,) = answer.stderr.splitlines()
    assert line.startswith("error: --workspace: the bucket cannot be used") and "testing-secret" not in line


def test_an_outage_inside_a_run_is_an_error_of_the_bucket(s3, monkeypatch):
    bucket = Bucket("s3://fleet/outage")
    monkeypatch.setattr(bucket._fs, "cat_file", _refuse)
    with pytest.raises(BucketError, match=r"^s3://fleet/outage: PermissionError: no \*\*\* here$"):
        bucket.read("x")


def _refuse(path):
    raise PermissionError(f"no {CREDENTIALS['AWS_SECRET_ACCESS_KEY']} here\nand more")


def _wait_for_the_server_s_clock(bucket: Bucket) -> None:
    """Until the server's time, in whole seconds on S3, is later than that of the lease."""
    import time

    lease = bucket.entry("locks/run-00000001.json").modified
    while True:
        bucket.write("locks/clock-test", b"")
        now = bucket.entry("locks/clock-test").modified
        bucket.delete(["locks/clock-test"])
        if now > lease:
            return
        time.sleep(0.1)


def test_what_nobody_refers_to_goes_from_the_bucket_and_nothing_else(bucket_place, elsewhere):
    store = opened(bucket_place)
    carry_out(store)
    bucket, unfinished = store.backend.bucket, "merge/wanted-0123456789ab"
    planned = [step.key for step in STEPS[:-1]] + [unfinished]
    bucket.write("campaigns/toy/index.json", json.dumps({"steps": planned}).encode())
    litter = ["objects/ab/orphan", f"checkpoints/{A.key}/training-1", f"rejected/{A.key}-1/record.json"]
    for key in (*litter, f"checkpoints/{unfinished}/training-1"):
        bucket.write(key, b"12345")
    (top,) = [record for record in store.records() if record.key == TOP.key]
    own = object_key(top.files["adapter.txt"][0])
    before = set(bucket.list(""))

    there = elsewhere(bucket_place)
    seen = find_garbage(there)
    gone = {key for one in seen.garbage for key in one.keys}
    assert set(bucket.list("")) == before
    assert gone == {*litter, own, f"artifacts/{TOP.key}/record.json"}
    assert seen.kept["checkpoints of unfinished steps"] == (1, 5)
    with Lease(bucket, "toy"), pytest.raises(InputError, match="another run goes on"):
        remove_garbage(there)
    assert remove_garbage(there) == seen
    assert set(bucket.list("")) == before - gone
    assert not find_garbage(there).garbage
    for record in opened(bucket_place).records():
        there.verify(record)
    assert carry_out(opened(bucket_place))[1] == [TOP.key]


def test_an_index_in_the_bucket_that_cannot_be_read_deletes_nothing(bucket_place, elsewhere):
    store = opened(bucket_place)
    carry_out(store)
    store.backend.bucket.write("campaigns/toy/index.json", b"{")
    before = set(store.backend.bucket.list(""))
    with pytest.raises(InputError, match="nothing is deleted"):
        remove_garbage(elsewhere(bucket_place))
    assert set(store.backend.bucket.list("")) == before


def test_the_status_of_a_run_elsewhere_is_seen_as_it_changes(bucket_place, elsewhere):
    store = opened(bucket_place)
    for counts in ({"running": 1}, {"succeeded": 1}):
        status = {"outcome": "running", "updated": 1.0, "total": 1, "counts": counts, "running": {}, "errors": {}}
        store.backend.bucket.write("campaigns/toy/status.json", json.dumps(status).encode())
        there = elsewhere(bucket_place)
        there.pull_status("toy")
        assert read_status(there.root / "campaigns" / "toy") == status
    there.pull_status("never run")
