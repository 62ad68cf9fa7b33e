from __future__ import annotations

import threading

import pytest
import torch

from jobs.training import checkpoint
from jobs.training.checkpoint import State, saved
from jobs.training.checkpoint_writer import KEPT, CheckpointWriter, snapshot


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
        writer.write([moment(place, time) for place in places], time)
    writer.wait()
    for place in places:
        assert [one.time for one in saved(place)] == [5, 4][:KEPT]


def test_a_disk_that_refuses_is_said_to_the_training(tmp_path):
    (tmp_path / "file").write_text("no directory")
    writer = CheckpointWriter()
    writer.write([moment(tmp_path / "file")], 1)
    with pytest.raises(OSError):
        writer.wait()
    writer.wait()
