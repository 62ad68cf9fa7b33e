"""A cluster of several nodes that come and go while a campaign trains: nothing is lost, and the records are the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import ray
import torch
from ray.cluster_utils import Cluster
from safetensors.torch import load_file
from torch.testing import assert_close

sys.path.insert(0, str(Path(__file__).parents[3] / "jobs"))
from sharded_fleet import ShardedFleet

from jobs.banks.bank import train_languages
from jobs.banks.sharded.memory_model import Parallelism
from jobs.ray.mailbox import open_mailbox
from jobs.ray.train import BankResources, train_bank
from orchestrator.campaign.load import load_campaign
from orchestrator.campaign.resources import ResourcesSection
from orchestrator.execution.executor import StepProgress, StepStateChanged
from orchestrator.execution.local import LocalExecutor
from orchestrator.execution.loop import Summary, execute
from orchestrator.execution.ray.executor import RayExecutor
from orchestrator.plan.pinned_references import References
from orchestrator.plan.plan import plan_campaign
from orchestrator.store.artifacts import ArtifactStore
from tests.orchestrator.small_campaign import write_campaign

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(280)]
TRAINED = ("initial-adapter", "language-adapter")


def ignore(event: object) -> None:
    """Nobody watches."""


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    return write_campaign(tmp_path_factory.mktemp("campaign"), steps=600)


@pytest.fixture(scope="module")
def steps(campaign, tmp_path_factory):
    plan = plan_campaign(load_campaign(campaign), References(tmp_path_factory.mktemp("cache")))
    return [step for step in plan.steps if step.job in TRAINED]


@pytest.fixture(scope="module")
def local(steps, tmp_path_factory):
    """The undisturbed run, on one thread as a Ray worker with one CPU has: sums of more threads round otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    store = ArtifactStore(tmp_path_factory.mktemp("local"))
    yield store, execute(steps, store, LocalExecutor(bank_size=1), ignore, {})
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def cluster():
    """A head that computes nothing and two nodes of one CPU; checkpoints every half second.

    With the dashboard, as clusters have it: Ray Train asks it whether a driver lives whose places it should give back.
    """
    environment = pytest.MonkeyPatch()
    environment.setenv("ADAPTERFLEET_CHECKPOINT_SECONDS", "0.5")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    environment.undo()


class KillsANode:
    """Removes a node, as an outage would, when languages have been seen in training on every one; adds another."""

    def __init__(self, cluster: Cluster, languages: set[str]) -> None:
        self._cluster, self._left = cluster, set(languages)
        self.killed: object = None
        self.added: object = None

    def __call__(self, event: object) -> None:
        if isinstance(event, StepProgress) and event.values.get("optimizer_step"):
            self._left.discard(event.key.split("/")[1].split("-")[0])
        if not self._left and self.killed is None:
            self.killed = next(iter(self._cluster.worker_nodes))
            self._cluster.remove_node(self.killed, allow_graceful=False)
        if isinstance(event, StepStateChanged) and event.state == "succeeded" and self.killed and not self.added:
            self.added = self._cluster.add_node(num_cpus=1)


class SignalsAWorker:
    """Sends a signal to one of the processes that train, once all `languages` have been seen in training."""

    def __init__(self, number: signal.Signals, languages: set[str]) -> None:
        self._number, self._left = number, set(languages)
        self.hit: int | None = None

    def __call__(self, event: object) -> None:
        if isinstance(event, StepProgress) and event.values.get("optimizer_step"):
            self._left.discard(event.key.split("/")[1].split("-")[0])
        if not self._left and self.hit is None:
            self.hit = next(pid for pid in sorted(trainers(), reverse=True))
            os.kill(self.hit, self._number)


def trainers() -> list[int]:
    """Process ids of this user's Ray Train workers that are children of this process' cluster."""
    children = psutil.Process().children(recursive=True)
    return [child.pid for child in children if "RayTrainWorker" in " ".join(child.cmdline())]


def run(steps, workspace: Path, watch, **resources) -> tuple[ArtifactStore, Summary]:
    store = ArtifactStore(workspace)
    executor = RayExecutor(ResourcesSection(**resources), workspace)
    try:
        return store, execute(steps, store, executor, watch, {})
    finally:
        executor.close()


def assert_same(one: tuple[ArtifactStore, Summary], other: tuple[ArtifactStore, Summary], tolerance: float) -> None:
    (store, first), (other_store, second) = one, other
    assert not second.errors and first.records.keys() == second.records.keys()
    for key, record in first.records.items():
        assert second.records[key].payload == record.payload
        for name in (name for name in record.files if name.endswith(".safetensors")):
            ours, theirs = load_file(store.path(key) / name), load_file(other_store.path(key) / name)
            assert_close(ours, theirs, rtol=0, atol=tolerance)


def test_a_backbone_is_sharded_over_two_workers_of_one_ray_job(cluster, tmp_path):
    """LoRA under ZeRO-3 on two nodes against the same training on one device."""
    fleet = ShardedFleet(tmp_path)
    alone, shared = fleet.call("aa", "alone"), fleet.call("aa", "shared")
    expected = dict(train_languages([alone]))["aa"]
    mailbox = open_mailbox()
    resources = BankResources(cpus=1, gpus=0, attempts=1, workers=2, scale=Parallelism("zero-3"))
    train_bank("sharded", [shared], mailbox.name, resources, str(tmp_path / "ray"))
    ((name, result, _),), _, _ = ray.get(mailbox.actor.drain.remote(60.0))
    assert name == "aa" and not isinstance(result, Exception), result
    assert result.metrics["validation_loss"] == pytest.approx(expected.metrics["validation_loss"], abs=1e-4)
    ours, theirs = (load_file(call.output / "adapter_model.safetensors") for call in (shared, alone))
    assert_close(ours, theirs, rtol=0, atol=1e-4)
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (shared.output / file).exists() and (alone.output / file).exists()


def test_a_node_that_dies_takes_no_bank_with_it_and_a_new_one_is_used(cluster, steps, local, tmp_path):
    """Banks of one language are bit for bit what one process gives, however often they were begun."""
    watch = KillsANode(cluster, {"en", "es"})
    finished = run(steps, tmp_path, watch, bank_size=1, attempts=3)
    assert watch.killed is not None
    assert_same(local, finished, 0.0)
    resumed = [r.details.get("resumed_from_step") for r in finished[1].records.values()]
    assert any(resumed), "a language went on from its checkpoint"


def test_a_bank_of_two_workers_goes_on_with_one_when_a_node_is_lost(cluster, steps, local, tmp_path):
    assert ray.cluster_resources()["CPU"] == 2
    watch = KillsANode(cluster, {"en", "es", "pt"})
    finished = run(steps, tmp_path, watch, workers_per_bank=2, attempts=3)
    assert watch.killed is not None
    assert_same(local, finished, 1e-3)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_bank_of_two_workers_survives_the_end_of_one(number, cluster, steps, local, tmp_path):
    assert ray.cluster_resources()["CPU"] == 2
    watch = SignalsAWorker(number, {"en", "es", "pt"})
    finished = run(steps, tmp_path, watch, workers_per_bank=2, attempts=3)
    assert watch.hit is not None
    assert_same(local, finished, 1e-3)
    resumed = [r.details.get("resumed_from_step") for r in finished[1].records.values()]
    assert any(resumed), "a language went on from its checkpoint"


@pytest.mark.timeout(600)
def test_the_same_command_goes_on_after_the_driver_of_a_bank_of_two_workers_was_killed(
    cluster, campaign, steps, local, tmp_path
):
    file = campaign.with_name("two-workers.yaml")
    file.write_text(campaign.read_text().replace("attempts: 2", "attempts: 2, workers_per_bank: 2"))
    workspace = tmp_path / "workspace"
    command = [sys.executable, "-m", "orchestrator", "run", str(file), "-w", str(workspace)]
    command += ["--tracking", "off", "--address", cluster.address]
    with (tmp_path / "driver.log").open("wb") as log:
        driver = subprocess.Popen(command, stdout=log, stderr=log)
        while not any((workspace / "checkpoints").glob("language-adapter/*/*.safetensors")):
            assert driver.poll() is None, (tmp_path / "driver.log").read_text()[-3000:]
            time.sleep(0.05)
        driver.kill()
        driver.wait()
        assert subprocess.run(command, stdout=log, stderr=log, check=False).returncode == 0
    store = ArtifactStore(workspace)
    records = {step.key: store.find(step) for step in steps}
    assert_same(local, (store, Summary(records=records)), 1e-3)
    assert any(record.details.get("resumed_from_step") for record in records.values())
