"""The ready-set loop with steps that are done in no time."""

import errno
from pathlib import Path

import pytest

from jobs.errors import Fault, InputError
from jobs.spec import JobResult
from orchestrator.execution.executor import StepProgress, StepStateChanged
from orchestrator.execution.loop import execute
from orchestrator.store.artifacts import ArtifactStore
from tests.orchestrator.toy_steps import AB, BC, STEPS, THETA, TOP, A, B, C, ToyExecutor, commit, job


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "ws")


def run(store, executor=None, steps=STEPS, watch=None, **extra):
    return execute(steps, store, executor or ToyExecutor(), watch or (lambda event: None), {"host": "here"}, **extra)


def failing(*names, error=None):
    def try_job(work):
        if work.step.name in names:
            raise error or RuntimeError("no luck")
        return job(work)

    return ToyExecutor(try_job)


def text(store, step):
    return (store.path(step.key) / "adapter.txt").read_text()


def test_every_step_runs_once_after_its_inputs(store):
    executor = ToyExecutor()
    summary = run(store, executor)
    assert sorted(executor.ran) == sorted(step.name for step in STEPS)
    for step in STEPS:
        assert all(executor.ran.index(s.name) < executor.ran.index(step.name) for _, s in step.inputs)
    assert summary.count("succeeded") == len(STEPS) and not summary.errors
    assert text(store, TOP).count("b-s1(") == 2
    record = store.find(TOP)
    assert record.metrics == {"loss": 0.5} and record.details == {"said": "done"}
    assert record.provenance["host"] == "here" and record.provenance["executor"] == "toy"
    assert record.inputs == {role: source.key for role, source in TOP.inputs}


def test_a_second_execution_reuses_everything(store):
    run(store)
    executor = ToyExecutor()
    summary = run(ArtifactStore(store.root), executor)
    assert executor.ran == [] and summary.count("reused") == len(STEPS)
    assert {key: record.fingerprint for key, record in summary.records.items()} == {s.key: s.fingerprint for s in STEPS}


class AtOnce(ToyExecutor):
    """Everything that is queued ends in one poll, and each outcome comes twice."""

    def poll(self, timeout):
        return [event for _ in range(len(self.queue)) for event in super(AtOnce, self).poll(timeout) * 2]


def test_steps_that_end_together_are_recorded_together_and_once(store):
    def describe(step, staging, result, inputs):
        if step is B:
            raise OSError(28, "No space left on device")

    states = []
    summary = run(store, AtOnce(), watch=lambda e: isinstance(e, StepStateChanged) and states.append((e.step.name, e.state)),
                  describe=describe)  # fmt: skip
    assert summary.errors == {B.key: f"OSError: [Errno 28] No space left on device: the disk of {store.root}"}
    assert {s.key for s in (THETA, A, C)} == set(summary.records) and summary.count("skipped") == 3
    assert len(states) == len(set(states))
    assert [store.find(step).key for step in (A, C)] == [A.key, C.key]
    again = run(ArtifactStore(store.root), AtOnce())
    assert again.count("succeeded") == 4 and again.count("reused") == 3 and text(store, TOP).count("b-s1(") == 2


def test_only_what_is_missing_runs(store):
    run(store, steps=(THETA, A, B))
    executor = ToyExecutor()
    summary = run(store, executor)
    assert sorted(executor.ran) == sorted(step.name for step in (C, AB, BC, TOP))
    assert summary.count("reused") == 3 and summary.count("succeeded") == 4


def test_a_failure_skips_what_needs_it_and_the_rest_goes_on(store):
    executor = failing("a-s1")
    summary = run(store, executor)
    assert summary.states == {
        THETA.key: "succeeded", A.key: "failed", B.key: "succeeded", C.key: "succeeded",
        AB.key: "skipped", BC.key: "succeeded", TOP.key: "skipped",
    }  # fmt: skip
    assert summary.errors == {A.key: "RuntimeError: no luck"}
    assert not {"ab-ner-s1", "top-ner-s1"} & set(executor.ran)
    assert store.find(A) is None and not store.staging(A).exists()


def test_the_same_command_retries_only_what_failed(store):
    run(store, failing("a-s1"))
    executor = ToyExecutor()
    assert not run(store, executor).errors
    assert sorted(executor.ran) == sorted(step.name for step in (A, AB, TOP))


def test_a_user_s_fault_is_told_without_its_type(store):
    fault = InputError(Fault("no text column", "a.jsonl:3"), Fault("empty", "b.jsonl"))
    assert run(store, failing("a-s1", error=fault)).errors[A.key] == "a.jsonl:3: no text column; b.jsonl: empty"


def test_two_failures_skip_a_common_dependant_once(store):
    changes = []
    run(store, failing("a-s1", "b-s1"), watch=changes.append)
    skipped = [e.step.key for e in changes if isinstance(e, StepStateChanged) and e.state == "skipped"]
    assert sorted(skipped) == sorted([AB.key, BC.key, TOP.key])


def test_a_full_disk_is_a_failed_step(store):
    summary = run(store, failing("a-s1", error=OSError(errno.ENOSPC, "No space left on device")))
    assert "No space left on device" in summary.errors[A.key] and summary.states[BC.key] == "succeeded"


def test_a_disk_that_fills_up_fails_its_step_and_frees_the_room(small_disk):
    store = ArtifactStore(small_disk("512k") / "ws")

    def greedy(work):
        if work.step.name == "a-s1":
            (work.call.output / "large").write_bytes(b"x" * 2_000_000)
        return job(work)

    summary = run(store, ToyExecutor(greedy))
    assert "No space left" in summary.errors[A.key]
    assert summary.states[BC.key] == "succeeded" and summary.states[TOP.key] == "skipped"
    assert not run(store).errors


def test_a_result_that_is_no_number_fails_its_step_alone(store):
    def diverged(work):
        result = job(work)
        return JobResult({"loss": float("nan")}) if work.step.name == "a-s1" else result

    summary = run(store, ToyExecutor(diverged))
    assert summary.states[A.key] == "failed" and summary.states[BC.key] == "succeeded"
    assert store.find(A) is None


def test_a_card_that_cannot_be_written_fails_its_step_alone(store):
    def describe(step, staging, result, inputs):
        assert set(inputs) == {role for role, _ in step.inputs}
        if step is A:
            raise KeyError("language")
        (staging / "README.md").write_text(f"# {step.name}")

    summary = run(store, describe=describe)
    assert summary.states[A.key] == "failed" and "README.md" in store.find(B).files


def test_a_staging_directory_that_cannot_be_made_fails_its_step_alone(store):
    store.staging(A).parent.mkdir(parents=True)
    store.staging(A).write_text("a file stands here")
    summary = run(store)
    assert summary.states[A.key] == "failed" and "FileExistsError" in summary.errors[A.key]
    assert summary.states[BC.key] == "succeeded"


@pytest.mark.parametrize("damage", ["changed", "truncated", "deleted", "record torn", "record of another"])
def test_a_damaged_input_is_computed_again_and_said(store, damage):
    run(store, steps=STEPS[:-1])
    expected = text(store, A)
    folder = store.path(A.key)
    file = folder / "adapter.txt"
    match damage:
        case "changed":
            file.write_text(expected[:-1] + "]")
        case "truncated":
            file.write_text(expected[:-1])
        case "deleted":
            file.unlink()
        case "record torn":
            (folder / "record.json").write_text((folder / "record.json").read_text()[:99])
        case _:
            (folder / "record.json").write_text((store.path(B.key) / "record.json").read_text())
    # AB is finished; it reads A no more. A step that does is pending:
    (store.path(AB.key) / "record.json").unlink()
    executor = ToyExecutor()
    summary = run(ArtifactStore(store.root), executor)
    assert sorted(executor.ran) == sorted(step.name for step in (A, AB, TOP))
    assert text(store, A) == expected and not summary.errors
    assert any(A.key in note and "computed again" in note and "rejected" in note for note in summary.notes)


def test_a_truncated_file_is_found_even_where_nothing_reads_it(store):
    run(store)
    (store.path(TOP.key) / "adapter.txt").write_text("")
    executor = ToyExecutor()
    summary = run(ArtifactStore(store.root), executor)
    assert executor.ran == ["top-ner-s1"] and len(summary.notes) == 1


def test_inputs_of_a_damaged_input_are_checked_too(store):
    run(store)
    for step in (A, AB, TOP):
        (store.path(step.key) / "sub" / "more.bin").write_bytes(bytes(200))
    (store.path(TOP.key) / "record.json").unlink()
    executor = ToyExecutor()
    summary = run(ArtifactStore(store.root), executor)
    assert sorted(executor.ran) == sorted(step.name for step in (A, AB, TOP)) and len(summary.notes) == 2


def test_watchers_see_every_state_and_all_progress(store):
    commit(store, THETA)
    seen = []
    run(store, failing("c-s1"), watch=seen.append)
    states = [(e.step.name, e.state) for e in seen if isinstance(e, StepStateChanged)]
    assert states[0] == ("theta-pre", "reused")
    assert ("a-s1", "running") in states and ("a-s1", "succeeded") in states and ("c-s1", "failed") in states
    assert sum(isinstance(e, StepProgress) for e in seen) == 4


def test_the_staging_directory_is_empty_when_a_step_begins(store):
    (store.stage(A) / "left").write_text("by a killed run")
    run(store)
    assert sorted(store.find(A).files) == ["adapter.txt", "sub/more.bin"]


def test_no_steps_are_no_work(store):
    assert run(store, steps=()).states == {}


def test_hundreds_of_steps_are_no_trouble(store):
    from tests.orchestrator.toy_steps import language

    def nothing(work):
        Path(work.call.output / "x").write_text("x")
        return JobResult()

    steps = [THETA, *(language(f"l{number}") for number in range(300))]
    assert run(store, ToyExecutor(nothing), steps).count("succeeded") == 301
