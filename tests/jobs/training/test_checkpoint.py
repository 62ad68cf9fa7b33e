from __future__ import annotations

import threading

import pytest
import torch

from jobs.training import checkpoint
from jobs.training.checkpoint import (
    KEPT,
    CheckpointWriter,
    State,
    common_time,
    place,
    read_checkpoint,
    remove_older,
    saved,
    snapshot,
    write_checkpoint,
)


def _write(directory, time, finished=False, identity="x"):
    state = State({"weights": torch.full((3,), float(time))}, {"optimizer_steps": time})
    write_checkpoint(directory, place(directory, time, finished), state, identity)


def test_a_checkpoint_comes_back_as_it_was_written(tmp_path):
    _write(tmp_path, 7)
    state, faults = read_checkpoint(tmp_path, None, "x")
    assert faults == []
    assert state.progress == {"optimizer_steps": 7}
    assert torch.equal(state.tensors["weights"], torch.full((3,), 7.0))


def test_a_bank_killed_while_saving_goes_on_from_the_time_that_all_reached(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for time in (10, 20):
        _write(first, time)
    _write(second, 10)
    assert common_time([first, second, tmp_path / "none"]) == 10
    state, _ = read_checkpoint(first, 10, "x")
    assert state.progress == {"optimizer_steps": 10}


def test_a_finished_learner_does_not_hold_the_others_back(tmp_path):
    _write(tmp_path / "first", 10, finished=True)
    _write(tmp_path / "second", 30)
    assert common_time([tmp_path / "first", tmp_path / "second"]) == 30


def test_a_torn_file_is_said_and_the_older_one_used(tmp_path):
    _write(tmp_path, 10)
    _write(tmp_path, 20)
    newest = saved(tmp_path)[0].path
    newest.write_bytes(newest.read_bytes()[:-5])
    state, faults = read_checkpoint(tmp_path, 20, "x")
    assert state.progress == {"optimizer_steps": 10}
    assert len(faults) == 1 and newest.name in faults[0]


def test_no_changed_byte_is_taken_for_what_was_written(tmp_path):
    _write(tmp_path, 10)
    _write(tmp_path, 20)
    newest = saved(tmp_path)[0].path
    sound = newest.read_bytes()
    used = []
    for position in range(len(sound)):
        newest.write_bytes(sound[:position] + bytes([sound[position] ^ 0xFF]) + sound[position + 1 :])
        state, faults = read_checkpoint(tmp_path, 20, "x")
        assert torch.equal(state.tensors["weights"], torch.full((3,), float(state.progress["optimizer_steps"])))
        used.append(state.progress["optimizer_steps"])
        assert bool(faults) == (used[-1] == 10)
    assert used.count(20) == 0


def test_older_checkpoints_and_half_written_files_are_removed(tmp_path):
    for time in (10, 20):
        _write(tmp_path, time)
    (tmp_path / ".training-0000000030.safetensors.123").write_bytes(b"half")
    remove_older(tmp_path, 20)
    assert [path.name for path in tmp_path.iterdir()] == ["training-0000000020.safetensors"]


def test_no_directory_means_no_checkpoint(tmp_path):
    assert saved(tmp_path / "none") == []
    assert common_time([tmp_path / "none"]) is None
    assert read_checkpoint(tmp_path / "none", None, "x") == (None, [])


def moment(directory, value=1.0):
    return snapshot(directory, "x", False, State({"weights": torch.full((4,), value)}, {"batches": 1}))


def test_what_training_does_after_the_snapshot_does_not_reach_the_file(tmp_path):
    weights = torch.zeros(4)
    taken = snapshot(tmp_path, "x", False, State({"weights": weights}, {}))
    weights += 1
    writer = CheckpointWriter()
    writer.write([taken], 1)
    writer.wait()
    state, _ = checkpoint.read_checkpoint(tmp_path, 1, "x")
    assert torch.equal(state.tensors["weights"], torch.zeros(4))


def test_training_goes_on_while_a_moment_is_written_and_only_one_is_on_its_way(tmp_path, monkeypatch):
    slow, whole = threading.Event(), checkpoint.write_checkpoint

    def write_when_told(*arguments):
        assert slow.wait(10)
        whole(*arguments)

    monkeypatch.setattr(checkpoint, "write_checkpoint", write_when_told)
    writer = CheckpointWriter()
    writer.write([moment(tmp_path)], 1)
    assert saved(tmp_path) == []
    threading.Timer(0.05, slow.set).start()
    writer.write([moment(tmp_path)], 2)
    assert [one.time for one in saved(tmp_path)][-1] == 1
    writer.wait()
    assert [one.time for one in saved(tmp_path)] == [2, 1]


def test_only_the_last_moments_are_kept_and_each_is_whole_for_all_languages(tmp_path):
    places = [tmp_path / name for name in ("aa", "bb")]
    writer = CheckpointWriter()
    for time in range(1, 6):
        writer.write([moment(directory, time) for directory in places], time)
    writer.wait()
    for directory in places:
        assert [one.time for one in saved(directory)] == [5, 4][:KEPT]


def test_a_disk_that_refuses_is_said_to_the_training(tmp_path):
    (tmp_path / "file").write_text("no directory")
    writer = CheckpointWriter()
    writer.write([moment(tmp_path / "file")], 1)
    with pytest.raises(OSError):
        writer.wait()
    writer.wait()
