"""Banks of several workers: real processes that talk by gloo."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_fleet import TRAINING, Fleet, write_corpus

from jobs.banks import bank as module
from jobs.banks.bank import train_languages
from jobs.training.checkpoint import saved
from jobs.training.progress import DivergedError

ROOT = Path(module.__file__).parents[2]
WORKER = """
import pickle, sys
from pathlib import Path
import torch, torch.distributed as dist
from jobs.banks import bank as module
from jobs.banks import forward_pass
from jobs.training import checkpoint
from jobs.training.data_parallel import joined_data_parallel
torch.set_num_threads(1)
checkpoint.SECONDS = float(sys.argv[2])
module.PROGRESS_SECONDS = 0.0
forward_pass.TOKENS = 1  # every language passes alone
at = Path(sys.argv[1]).with_suffix(".at")
dist.init_process_group("gloo")
team = joined_data_parallel()
calls = pickle.loads(Path(sys.argv[1]).read_bytes())[team.rank]
def progress(name, values):
    if team.is_main:
        at.write_text(str(values["optimizer_step"]))
outcomes = dict(module.train_languages(calls, progress, team=team))
if team.is_main:
    Path(sys.argv[1]).with_suffix(".done").write_bytes(pickle.dumps(outcomes))
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    return Fleet(tmp_path_factory.mktemp("fleet"))


def start(file: Path, calls_by_rank, seconds: float = 20.0) -> list[subprocess.Popen]:
    """One process for each rank's calls."""
    file.write_bytes(pickle.dumps(calls_by_rank))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    size = len(calls_by_rank)
    environments = [{**common, "RANK": str(rank), "WORLD_SIZE": str(size)} for rank in range(size)]
    command = [sys.executable, "-c", WORKER, str(file), str(seconds)]
    return [subprocess.Popen(command, cwd=ROOT, env=one, stderr=subprocess.PIPE, text=True) for one in environments]


def finish(file: Path, workers: list[subprocess.Popen]):
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors[-3000:]
    return pickle.loads(file.with_suffix(".done").read_bytes())  # noqa: S301 - what the worker above wrote


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
    training = dataclasses.replace(TRAINING, optimizer_steps=160, evaluate_every=80)
    undisturbed, killed = (fleet.call("ia", training, run=run) for run in ("undisturbed", "killed"))
    # No checkpoint is due in this time: the only one is written because the other worker is gone.
    workers = start(tmp_path / "calls", [[killed], [killed]], seconds=1e9)
    reached, deadline = tmp_path / "calls.at", time.monotonic() + 100
    while not (reached.exists() and float(reached.read_text() or 0) >= 20) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not saved(killed.checkpoint)
    workers[1].send_signal(signal.SIGKILL)
    assert "WorkerLostError" in workers[0].communicate(timeout=100)[1]
    assert saved(killed.checkpoint)[0].time >= 20
    result = dict(train_languages([killed]))["ia"]
    dict(train_languages([undisturbed]))
    assert 0 < result.details["resumed_from_step"] < 160
    assert difference(weights(undisturbed), weights(killed)) < 1e-4
