"""The executor on Ray, on a real local cluster: same records as LocalExecutor, and nothing lost when something dies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import ray
from ray import tune
from safetensors.torch import load_file
from torch.testing import assert_close

from jobs.errors import InputError
from jobs.runtime.shutdown import LEFT
from orchestrator.campaign.load import load_campaign
from orchestrator.campaign.resources import ResourcesSection
from orchestrator.execution.executor import StepStateChanged
from orchestrator.execution.local import LocalExecutor
from orchestrator.execution.loop import Summary, execute
from orchestrator.execution.ray import executor
from orchestrator.execution.ray.executor import RayExecutor
from orchestrator.lineage.model_card import write_card
from orchestrator.plan.pinned_references import References
from orchestrator.plan.plan import Plan, plan_campaign
from orchestrator.scheduling.startup_times import known_startup_times
from orchestrator.search.score_cache import SCORES
from orchestrator.store.artifacts import ArtifactStore
from tests.orchestrator.small_campaign import write_campaign

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def campaign_file(tmp_path_factory) -> Path:
    """Its trainings take longer than a second, after which they are heard of, and can be met."""
    return write_campaign(tmp_path_factory.mktemp("campaign"), steps=200)


def planned(file: Path, workspace: Path) -> Plan:
    return plan_campaign(load_campaign(file), References(workspace / "cache"))


def ignore(event: object) -> None:
    """Nobody watches."""


def run_on_ray(plan: Plan, workspace: Path, watch=ignore) -> Summary:
    executor = RayExecutor(plan.campaign.resources, workspace)
    try:
        return execute(plan.steps, ArtifactStore(workspace), executor, watch, {}, write_card)
    finally:
        executor.close()


@pytest.fixture(scope="module")
def local(campaign_file, tmp_path_factory) -> tuple[ArtifactStore, Summary]:
    workspace = tmp_path_factory.mktemp("local")
    plan = planned(campaign_file, workspace)
    store = ArtifactStore(workspace)
    return store, execute(plan.steps, store, LocalExecutor(), ignore, {}, write_card)


def assert_same_results(one: ArtifactStore, first: Summary, other: ArtifactStore, second: Summary) -> None:
    assert not second.errors
    assert first.records.keys() == second.records.keys()
    for key, record in first.records.items():
        twin = second.records[key]
        assert twin.payload == record.payload
        assert twin.files.keys() == record.files.keys()
        for name in record.files:
            if name.endswith(".safetensors"):
                ours, theirs = load_file(one.path(key) / name), load_file(other.path(key) / name)
                assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


class KillsOneOfEach:
    """Watches a run, and kills its first training worker and its first warm worker that show themselves."""

    def __init__(self) -> None:
        self.killed: set[str] = set()

    def __call__(self, event: object) -> None:
        if isinstance(event, StepStateChanged):
            return
        kind = "RayTrainWorker" if event.key.startswith(("language-adapter", "task-adapter")) else "WarmWorker"
        if kind in self.killed:
            return
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # one that is gone by now
                if " ".join(process.cmdline()).startswith(f"ray::{kind}"):
                    process.kill()
                    self.killed.add(kind)
                    return


def driver(campaign_file: Path, workspace: Path) -> subprocess.Popen:
    """The command line, in a process of its own."""
    command = [sys.executable, "-m", "orchestrator", "run", str(campaign_file), "-w", str(workspace)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*command, "--tracking", "off"], env=environment, stdout=subprocess.DEVNULL)


def stopped_at(job: str, number: int, run: subprocess.Popen, workspace: Path) -> int:
    """Send the signal when the first step of `job` is recorded; the exit code."""
    while not list(workspace.glob(f"artifacts/{job}/*/record.json")):
        assert run.poll() is None
        time.sleep(0.2)
    run.send_signal(number)
    return run.wait(60)


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_killed_driver_and_killed_workers_cost_nothing_and_the_records_are_those_of_the_local_executor(
    campaign_file, local, tmp_path
):
    """Two runs: the first dies, and its cluster with it; the second loses a worker of each kind and comes to its end."""
    run = driver(campaign_file, tmp_path)
    while not list(tmp_path.glob("artifacts/initial-adapter/*/record.json")):
        assert run.poll() is None
        time.sleep(0.2)
    its_cluster = psutil.Process(run.pid).children(recursive=True)
    assert stopped_at("language-adapter", signal.SIGKILL, run, tmp_path) == -signal.SIGKILL
    while any(map(is_alive, its_cluster)):  # or the test's own time limit ends it
        time.sleep(0.1)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("artifacts/*/*/record.json")}

    watch = KillsOneOfEach()
    summary = run_on_ray(planned(campaign_file, tmp_path), tmp_path, watch)
    assert watch.killed == {"RayTrainWorker", "WarmWorker"}
    assert summary.count("reused") == len(before) >= 2
    assert_same_results(*local, ArtifactStore(tmp_path), summary)
    assert all(file.stat().st_mtime_ns == moment for file, moment in before.items())
    assert not list((tmp_path / "staging").glob("*/*"))
    sources = known_startup_times(tmp_path, {}).sources
    assert sources["bank"].startswith("measured") and sources["worker"].startswith("measured")


@pytest.mark.slow
def test_a_driver_that_is_told_to_end_leaves_in_order_and_loses_nothing(campaign_file, local, tmp_path):
    assert stopped_at("initial-adapter", signal.SIGTERM, driver(campaign_file, tmp_path), tmp_path) == LEFT
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("artifacts/*/*/record.json")}
    assert before
    assert driver(campaign_file, tmp_path).wait() == 0
    store = ArtifactStore(tmp_path)
    assert_same_results(*local, store, Summary(records={record.key: record for record in store.records()}))
    assert all(file.stat().st_mtime_ns == moment for file, moment in before.items())


@pytest.fixture
def all_but_searches(local, campaign_file, tmp_path) -> Path:
    """A workspace whose campaign has its two searches left; no score of theirs is known."""
    workspace = tmp_path / "workspace"
    shutil.copytree(local[0].root, workspace)
    for folder in (workspace / "artifacts" / "search", workspace / "cache" / SCORES):
        shutil.rmtree(folder)
    return workspace


def tune_that_ends_late(monkeypatch, end) -> None:
    """`end` comes between the last result and the return of `fit`, in the thread that runs Tune."""
    real = tune.Tuner.fit

    def fit(tuner):
        results = real(tuner)
        end()
        return results

    monkeypatch.setattr(tune.Tuner, "fit", fit)


@pytest.mark.slow
def test_a_run_waits_for_a_tune_that_ends_after_the_last_step(campaign_file, all_but_searches, monkeypatch):
    ended = []
    tune_that_ends_late(monkeypatch, lambda: (time.sleep(3), ended.append(ray.is_initialized())))
    plan = planned(campaign_file, all_but_searches)
    executor = RayExecutor(plan.campaign.resources, all_but_searches)
    try:
        summary = execute(plan.steps, ArtifactStore(all_but_searches), executor, ignore, {}, write_card)
        assert summary.count("succeeded") == 2 and summary.count("reused") == len(plan.steps) - 2
        assert not ended  # or it would not be late
    finally:
        executor.close()
    assert ended == [True] and not ray.is_initialized() and not threads_on_ray()
    executor.close()  # once more changes nothing
    for late in (lambda: executor.poll(0), lambda: executor.submit([])):
        with pytest.raises(RuntimeError, match="closed"):
            late()


def test_a_tune_that_does_not_end_is_left_behind_and_starts_no_other_ray(
    campaign_file, all_but_searches, monkeypatch, caplog
):
    raised, gone = [], threading.Event()

    def end():
        gone.wait(60)
        for use in (lambda: ray.put(1), lambda: tune.Tuner(lambda config: {}).fit()):
            with pytest.raises(Exception, match="Ray has not been started yet") as told:
                use()
            raised.append(told.type)

    tune_that_ends_late(monkeypatch, end)
    monkeypatch.setattr(executor, "LONGEST_END", 0.5)
    for name in ("LAST_SECONDS", "QUIET_SECONDS"):
        monkeypatch.setattr(executor, name, 0.2)
    try:
        summary = run_on_ray(planned(campaign_file, all_but_searches), all_but_searches)
        assert summary.count("succeeded") == 2 and not ray.is_initialized()
        (left,) = threads_on_ray()
    finally:
        gone.set()
    left.join(60)
    assert f"work on Ray to end ({left.name})" in caplog.text and f"{left.name} did not end" in caplog.text
    assert not left.is_alive() and len(raised) == 2 and not ray.is_initialized()


def test_a_run_that_is_broken_off_lets_its_search_end(campaign_file, all_but_searches, monkeypatch):
    ended = []
    tune_that_ends_late(monkeypatch, lambda: (time.sleep(2), ended.append(ray.is_initialized())))

    def interrupt(event: object) -> None:
        if not isinstance(event, StepStateChanged):
            raise KeyboardInterrupt

    plan = planned(campaign_file, all_but_searches)
    with pytest.raises(KeyboardInterrupt):
        run_on_ray(plan, all_but_searches, interrupt)
    assert ended == [True] and not ray.is_initialized() and not threads_on_ray()
    assert list(all_but_searches.glob("checkpoints/search/*/trials.jsonl"))


def threads_on_ray() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(("search-", "bank-"))]


def test_a_request_that_no_node_can_meet_is_refused_at_once(tmp_path):
    with pytest.raises(InputError, match=r"no node of the cluster has that many CPUs.*got 4096"):
        RayExecutor(ResourcesSection(cpus_per_bank=4096), tmp_path)
    ray.shutdown()
