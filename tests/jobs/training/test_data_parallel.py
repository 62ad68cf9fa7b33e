"""Banks of several workers: real processes that talk by gloo."""

from __future__ import annotations

import dataclasses
import pickle
import socket
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from tiny_fleet import TRAINING, Fleet, write_corpus

from jobs.banks import bank as module
from jobs.banks import forward_pass
from jobs.banks.bank import train_languages
from jobs.training import checkpoint
from jobs.training.checkpoint import saved
from jobs.training.data_parallel import joined_data_parallel
from jobs.training.progress import DivergedError
from tests.forks import ended, forked


def train_together(calls, file: Path, seconds: float) -> None:
    """What each worker does: train its calls, with a checkpoint every `seconds`; every language passes alone."""
    torch.set_num_threads(1)
    checkpoint.SECONDS, module.PROGRESS_SECONDS, forward_pass.TOKENS = seconds, 0.0, 1
    dist.init_process_group("gloo")
    team = joined_data_parallel()

    def progress(name, values):
        if team.is_main:
            file.with_suffix(".at").write_text(str(values["optimizer_step"]))

    outcomes = dict(train_languages(calls, progress, team=team))
    if team.is_main:
        file.with_suffix(".done").write_bytes(pickle.dumps(outcomes))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    return Fleet(tmp_path_factory.mktemp("fleet"))


def start(file: Path, calls_by_rank, seconds: float = 20.0) -> list[BaseProcess]:
    """One process for each rank's calls."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(len(calls_by_rank))}
    return [
        forked(train_together, calls, file, seconds, log=file.with_suffix(f".log{rank}"), RANK=str(rank), **common)
        for rank, calls in enumerate(calls_by_rank)
    ]


def finish(file: Path, workers: list[BaseProcess]):
    for rank, worker in enumerate(workers):
        assert ended(worker) == 0, file.with_suffix(f".log{rank}").read_text()[-3000:]
    return pickle.loads(file.with_suffix(".done").read_bytes())  # noqa: S301 - what `train_together` wrote


def weights(call):
    return load_file(call.output / "adapter.safetensors")


def difference(first, second) -> float:
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.fixture(scope="module")
def trained(fleet, tmp_path_factory):
    """Three languages by one worker and by two: one is sound, one diverges, one cannot be read by worker 1."""
    wild = dataclasses.replace(TRAINING, learning_rate=1e30, max_grad_norm=0.0)
    broken = dataclasses.replace(write_corpus(fleet.root / "corpora", "ec"), files=(("train", "/no/such/file"),))
    dropped = dataclasses.replace(TRAINING, backbone_dropout=0.1)
    alone = [fleet.call("ea", dropped, run="alone"), fleet.call("eb", wild, run="alone")]
    outcomes = dict(train_languages(alone))
    pair = [fleet.call("ea", dropped, run="pair"), fleet.call("eb", wild, run="pair"), fleet.call("ec", run="pair")]
    unreadable = dataclasses.replace(pair[2], cache=fleet.root / "elsewhere")
    unreadable = dataclasses.replace(unreadable, spec=dataclasses.replace(pair[2].spec, corpus=broken))
    file = tmp_path_factory.mktemp("pair") / "calls"
    together = finish(file, start(file, [pair, [*pair[:2], unreadable]]))
    return alone, outcomes, pair, together


def test_two_workers_train_what_one_worker_trains(fleet, trained):
    alone, outcomes, pair, together = trained
    start_ = load_file(fleet.theta_pre / "adapter.safetensors")
    own = weights(alone[0])
    assert max(float((start_[n] - own[n.replace("theta_pre", "ea")]).abs().max()) for n in start_) > 1e-3
    assert difference(own, weights(pair[0])) < 1e-5
    for name in ("train_loss", "validation_loss"):
        ours, theirs = outcomes["ea"].series[name], together["ea"].series[name]
        assert [step for step, _ in ours] == [step for step, _ in theirs]
        torch.testing.assert_close([v for _, v in ours], [v for _, v in theirs], rtol=1e-5, atol=1e-6)


def test_the_speed_counts_the_tokens_of_all_workers_once(trained):
    _, outcomes, _, together = trained
    assert together["ea"].metrics["tokens"] == outcomes["ea"].metrics["tokens"]


def test_with_two_workers_too_a_divergence_ends_its_language_alone(trained):
    _, outcomes, _, together = trained
    assert isinstance(outcomes["eb"], DivergedError) and isinstance(together["eb"], DivergedError)


def test_a_corpus_that_one_worker_cannot_read_ends_its_language_alone_and_says_where(trained):
    outcome = trained[3]["ec"]
    assert isinstance(outcome, Exception) and "worker 1" in str(outcome) and "/no/such/file" in str(outcome)


def test_when_a_worker_is_killed_the_other_saves_what_it_has_and_goes_on_alone(fleet, tmp_path):
    training = dataclasses.replace(TRAINING, optimizer_steps=100, evaluate_every=50)
    undisturbed, killed = (fleet.call("ia", training, run=run) for run in ("undisturbed", "killed"))
    # No checkpoint is due in this time: the only one is written because the other worker is gone.
    workers = start(tmp_path / "calls", [[killed], [killed]], seconds=1e9)
    reached, deadline = tmp_path / "calls.at", time.monotonic() + 100
    while not (reached.exists() and float(reached.read_text() or 0) >= 20) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not saved(killed.checkpoint)
    workers[1].kill()
    assert ended(workers[0]) == 1 and "WorkerLostError" in (tmp_path / "calls.log0").read_text()
    assert saved(killed.checkpoint)[0].time >= 20
    result = dict(train_languages([killed]))["ia"]
    dict(train_languages([undisturbed]))
    assert 0 < result.details["resumed_from_step"] < 100
    assert difference(weights(undisturbed), weights(killed)) < 1e-4
