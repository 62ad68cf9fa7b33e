"""One cluster of our own: who may reach it, what it measures, and what its workers have to say."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace

import psutil
import pytest
import ray

from jobs.spec import JobCall
from orchestrator.campaign.resources import ResourcesSection
from orchestrator.execution.executor import StepFinished, Work
from orchestrator.execution.ray.executor import RayExecutor, Run
from orchestrator.store.step import make_step
from tests.orchestrator.toy_steps import BACKBONE, THETA

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(200)]
LOCAL = ("127.", "::1", "::ffff:127.")


def listening() -> list[tuple[str, str]]:
    """(process, address) of every socket that this process and those below it listen on."""
    me = psutil.Process()
    found = []
    for process in (me, *me.children(recursive=True)):
        try:
            sockets = process.net_connections("inet")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        found += [(process.name(), s.laddr.ip) for s in sockets if s.status == psutil.CONN_LISTEN]
    return found


def scraped(wanted: str) -> dict[str, float]:
    """The metrics whose names begin so, from the node's own endpoint."""
    node = ray.nodes()[0]
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    deadline = time.time() + 60
    while time.time() < deadline:
        text = urllib.request.urlopen(address, timeout=10).read().decode()
        lines = [line for line in text.splitlines() if line.startswith(wanted)]
        if lines:
            return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}
        time.sleep(0.5)
    raise AssertionError(f"{wanted} never came")


def test_a_cluster_of_one_s_own_is_local_guarded_measured_and_heard(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_metrics_report_interval_ms", "500")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    before, heard = set(listening()), []
    step = make_step(replace(THETA.spec, backbone=replace(BACKBONE, path=str(tmp_path / "nowhere"))))
    output = tmp_path / "out"
    output.mkdir()
    call = JobCall(step.key, step.spec, {}, output, tmp_path / "checkpoint", tmp_path / "cache")
    executor = RayExecutor(ResourcesSection(), tmp_path, notes=heard.append, run=Run("toy"))
    try:
        executor.submit([Work(step, call)])
        outcomes: list[StepFinished] = []
        deadline = time.time() + 100
        while not outcomes and time.time() < deadline:
            outcomes += [event for event in executor.poll(1) if isinstance(event, StepFinished)]
        assert isinstance(outcomes[0].outcome, Exception)
        (told,) = [note for note in heard if note.level == "error"]
        assert told.step == step.key and "Traceback" in told.message and str(tmp_path / "nowhere") in told.message
        assert told.pid != os.getpid()

        opened = set(listening()) - before
        assert len(opened) >= 5
        assert [socket for socket in opened if not socket[1].startswith(LOCAL)] == []

        counted = scraped("ray_adapterfleet_steps_total")
        (labels,) = counted
        assert all(label in labels for label in ('campaign="toy"', 'job="initial-adapter"', 'outcome="failed"'))
        assert counted[labels] == 1
        assert list(scraped("ray_adapterfleet_queue").values()) == [0]

        code = f"from ray._raylet import GcsClient; GcsClient(address={ray.get_runtime_context().gcs_address!r})"
        stranger = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
        answer = subprocess.run([sys.executable, "-c", code], env=stranger, capture_output=True, text=True, timeout=90)
        assert answer.returncode != 0 and "AuthenticationError" in answer.stderr
        own = {**stranger, "RAY_AUTH_TOKEN": os.environ["RAY_AUTH_TOKEN"]}
        subprocess.run([sys.executable, "-c", code], env=own, check=True, timeout=90)
    finally:
        executor.close()
