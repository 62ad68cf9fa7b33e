"""Finished steps computed again on purpose: compared with what is there, which no outcome and no kill touches."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
from safetensors.numpy import save_file

from jobs.errors import InputError
from jobs.spec import JobResult
from orchestrator.execution.loop import execute
from orchestrator.store.artifacts import ArtifactStore, open_store, take_inventory, workspace_path
from orchestrator.store.garbage import LEFT
from orchestrator.store.jsonl import parse_line
from orchestrator.store.record import read_record
from orchestrator.store.redo import RedoStore, steps_to_redo
from tests.orchestrator.toy_steps import AB, STEPS, TOP, A, B, ToyExecutor, job


@pytest.fixture
def store(tmp_path):
    store = ArtifactStore(tmp_path / "ws")
    run(store)
    return store


def run(store, job=job):
    """As `run_campaign` does it: steps that are done again are not in the inventory."""
    executor = ToyExecutor(job)
    found = take_inventory((step for step in STEPS if not store.again(step)), store)
    summary = execute(STEPS, store, executor, lambda event: None, {"host": "here"}, found=found)
    return executor, summary


def redo(store, *steps, job=job):
    again = RedoStore(store, frozenset(step.key for step in steps), store.root / "campaigns/toy")
    return again, *run(again, job)


def state(store):
    """Everything that is finished, with its bytes and the moment at which it was written."""
    files = sorted(f for f in (store.root / "artifacts").rglob("*") if f.is_file())
    return [(f.relative_to(store.root).as_posix(), f.read_bytes(), f.stat().st_mtime_ns) for f in files]


def test_a_step_that_comes_out_the_same_is_equal_and_nothing_changes(store):
    before = state(store)
    again, executor, summary = redo(store, A, TOP)
    assert sorted(executor.ran) == sorted([A.name, TOP.name])
    again.redone.sort(key=lambda one: one.key)
    assert [(one.key, one.equal) for one in again.redone] == [(A.key, True), (TOP.key, True)]
    assert str(again.redone[0]) == f"equal: {A.key}: 2 files, byte for byte, and all numbers"
    assert state(store) == before and not (store.root / "redone").exists()
    assert not any((store.root / "staging").rglob("*.txt")) and summary.count("succeeded") == 2
    lines = [parse_line(line) for line in (store.root / "campaigns/toy/redo.jsonl").read_text().splitlines()]
    assert sorted((line["key"], line["equal"], line["after"]["host"]) for line in lines) == [
        (A.key, True, "here"), (TOP.key, True, "here"),
    ]  # fmt: skip


def other(work):
    result = job(work)
    if work.step is A:
        (work.call.output / "adapter.txt").write_text("other")
        (work.call.output / "new.txt").write_text("new")
        (work.call.output / "sub" / "more.bin").unlink()
        return JobResult({"loss": 0.25, "seconds": 9.0}, result.series, {"said": "done", "machine": {"device": "x"}})
    return result


def test_what_came_out_otherwise_lies_apart_with_its_record_and_the_artifact_stays(store):
    before = state(store)
    again, _, summary = redo(store, A, AB, job=other)
    assert not again.redone[0].equal and again.redone[1].equal, "AB reads the artifact of A, not what came out"
    told = str(again.redone[0])
    assert told.startswith(
        f"differs: {A.key}: adapter.txt, new.txt is new, sub/more.bin is missing, metrics.loss 0.5 -> 0.25; "
    )
    (kept,) = (store.root / "redone").glob("*/*")
    assert (kept / "adapter.txt").read_text() == "other" and str(kept) in told
    assert read_record(kept).fingerprint == A.fingerprint and read_record(kept).metrics["loss"] == 0.25
    assert state(store) == before and summary.records[A.key].metrics == {"loss": 0.5}
    assert "redone/*/*" in LEFT


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_a_run_that_ends_midway_loses_nothing(store, interrupt):
    before = state(store)

    def killed(work):
        job(work)
        raise interrupt

    with pytest.raises(interrupt):
        redo(store, A, B, job=killed)
    assert state(store) == before
    executor, summary = run(store)
    assert executor.ran == [] and summary.count("reused") == len(STEPS)


def test_a_step_that_fails_is_finished_as_before(store):
    def failing(work):
        raise RuntimeError("no")

    before = state(store)
    again, _, summary = redo(store, A, job=failing)
    assert summary.errors.keys() == {A.key} and not again.redone and state(store) == before


def test_damaged_bytes_give_way_to_what_came_out(store):
    (store.path(A.key) / "adapter.txt").write_text("a(theta-prE())")
    again, _, _ = redo(store, A)
    assert not again.redone[0].equal and "adapter.txt has" in again.redone[0].told
    store.verify(read_record(store.path(A.key)))
    assert any((store.root / "rejected").rglob("adapter.txt"))


def test_tensors_say_by_how_much(tmp_path):
    store, values = ArtifactStore(tmp_path / "ws"), np.array([4.0, 1.0], np.float32)

    def saving(off):
        def save(work):
            save_file({"w": values + np.array([0, off], np.float32)}, work.call.output / "adapter.safetensors")
            return JobResult()

        return save

    run(store, saving(0.0))
    again, _, _ = redo(store, A, job=saving(0.5))
    assert "adapter.safetensors (by at most 0.12 of its largest value)" in again.redone[0].told


def test_in_a_bucket_the_artifact_stays_too(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAPTERFLEET_SCRATCH", str(tmp_path / "scratch"))
    place = f"memory://fleet/{uuid.uuid4().hex}"
    store = open_store(workspace_path(place))
    run(store)
    assert [one.equal for one in redo(store, A)[0].redone] == [True]
    assert [one.equal for one in redo(store, A, job=other)[0].redone] == [False]
    monkeypatch.setenv("ADAPTERFLEET_SCRATCH", str(tmp_path / "elsewhere"))
    there = open_store(workspace_path(place))
    (record,) = [one for one in there.records() if one.key == A.key]
    there.verify(record)
    assert record.metrics == {"loss": 0.5} and (there.path(A.key) / "adapter.txt").read_text() != "other"


def test_steps_that_are_not_finished_are_done_as_always(tmp_path):
    again, _, summary = redo(ArtifactStore(tmp_path / "ws"), A)
    assert not again.redone and summary.count("succeeded") == len(STEPS)


def test_unknown_names_are_said_all_at_once_with_names_like_them():
    assert steps_to_redo(STEPS, [f"{A.job}/{A.name}", TOP.key]) == {A.key, TOP.key}
    with pytest.raises(InputError) as refused:
        steps_to_redo(STEPS, ["language-adapter/a-s2", "merge/tip-ner-s1"])
    first, second = map(str, refused.value.faults)
    assert first.startswith("STEP: no step has that name (got language-adapter/a-s2); try language-adapter/a-s1")
    assert "merge/top-ner-s1" in second
