import json

import pytest

from orchestrator.execution.event_log import EventLog, read_status
from orchestrator.execution.executor import StepProgress, StepStateChanged
from tests.orchestrator.toy_steps import THETA, A, B, C


def events(folder):
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def test_the_log_tells_every_change_but_not_every_reuse(tmp_path):
    log = EventLog(tmp_path, 4)
    log(StepStateChanged(THETA, "reused"))
    log(StepStateChanged(A, "running"))
    log(StepProgress(A.key, {"loss": 2.5}))
    log(StepStateChanged(A, "succeeded"))
    log(StepStateChanged(B, "failed", error="no corpus"))
    log(StepStateChanged(C, "skipped", error="needs b"))
    log.close("failed")
    assert [one["event"] for one in events(tmp_path)] == [
        "started",
        "running",
        "succeeded",
        "failed",
        "skipped",
        "finished",
    ]
    assert events(tmp_path)[3]["error"] == "no corpus"
    status = read_status(tmp_path)
    assert status["outcome"] == "failed" and status["total"] == 4
    assert status["counts"] == {"reused": 1, "succeeded": 1, "failed": 1, "skipped": 1}
    assert status["errors"] == {B.key: "no corpus", C.key: "needs b"} and status["running"] == {}


def test_the_status_shows_what_runs_and_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.execution.event_log.WRITE_EVERY", 0.0)
    log = EventLog(tmp_path, 2)
    assert read_status(tmp_path) is None or read_status(tmp_path)["counts"] == {}
    log(StepStateChanged(A, "running"))
    log(StepProgress(A.key, {"loss": 2.5}))
    status = read_status(tmp_path)
    assert status["outcome"] == "running" and status["running"] == {A.key: {"loss": 2.5}}


def test_a_second_run_adds_to_the_log(tmp_path):
    for outcome in ("interrupted", "finished"):
        EventLog(tmp_path, 1).close(outcome)
    assert [one["outcome"] for one in events(tmp_path) if one["event"] == "finished"] == ["interrupted", "finished"]


def test_a_campaign_that_never_ran_has_no_status(tmp_path):
    assert read_status(tmp_path) is None


def test_a_full_disk_stops_no_run_and_the_end_is_written_when_there_is_room(tiny_disk):
    log = EventLog(tiny_disk / "toy", 2)
    filler = tiny_disk / "filler"
    with pytest.raises(OSError), filler.open("wb", buffering=0) as stream:
        while True:
            stream.write(b"x" * 512)
    for step in (A, B, C):
        log(StepStateChanged(step, "failed", error="no space left" * 200))
    filler.unlink()
    log.close("failed")
    assert events(tiny_disk / "toy")[-1]["counts"] == {"failed": 3}
    assert set(read_status(tiny_disk / "toy")["errors"]) == {A.key, B.key, C.key}
