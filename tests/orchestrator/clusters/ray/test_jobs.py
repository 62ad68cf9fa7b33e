"""Campaigns on a real Ray cluster that this process did not start: `ray start` on ports of its own, with a token."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest
import ray

from orchestrator.store.artifacts import ArtifactStore
from tests.orchestrator.s3_server import free_port
from tests.orchestrator.small_campaign import write_campaign

ROOT = Path(__file__).parents[4]
TOKEN = "of-these-tests-alone-" + "x" * 16
pytestmark = [pytest.mark.ray, pytest.mark.timeout(280)]


@pytest.fixture(scope="module")
def campaign_file(tmp_path_factory):
    return write_campaign(tmp_path_factory.mktemp("campaign"), steps=4)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """As on a machine beside the cluster: the token, and a place for bytes."""
    hidden = ("RAY_", "AWS_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return {
        **inherited, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1", "RAY_worker_niceness": "0",
    }  # fmt: skip


@pytest.fixture(scope="module")
def cluster(environment, tmp_path_factory) -> Iterator[tuple[str, str]]:
    """A running cluster: its HTTP address, and HOST:PORT."""
    port, dashboard, client = free_port(), free_port(), free_port()
    # Unix sockets take 107 characters: pytest's directories are too long for them.
    folder = Path("/tmp") / f"ray-{os.getpid()}"
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--port", str(port)]
    command += ["--dashboard-port", str(dashboard), "--ray-client-server-port", str(client), "--num-cpus", "2"]
    command += ["--node-ip-address", "127.0.0.1", "--dashboard-host", "127.0.0.1", "--disable-usage-stats"]
    command += ["--temp-dir", str(folder), "--metrics-export-port", str(free_port())]
    command += ["--dashboard-agent-listen-port", str(free_port()), "--dashboard-agent-grpc-port", str(free_port())]
    # The cluster's own processes know nothing of this tree: jobs bring it.
    bare = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    bare["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{bare['PATH']}"  # `python` is the one with Ray
    head = subprocess.Popen(command, env=bare, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
    try:
        _wait_for(dashboard, head)
        yield f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{port}"
    finally:
        started = [psutil.Process(head.pid), *psutil.Process(head.pid).children(recursive=True)]
        head.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(started, timeout=15)
        for process in alive:
            process.kill()
        subprocess.run(["rm", "-rf", str(folder)], check=False)


def _wait_for(port: int, head: subprocess.Popen) -> None:
    for _ in range(600):
        assert head.poll() is None, "the cluster did not start"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the cluster's dashboard did not start")


def fleet(environment, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "orchestrator", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.slow
def test_a_job_is_stopped_and_goes_on_from_a_driver_elsewhere_and_then_as_a_job_again(
    cluster, campaign_file, environment, tmp_path
):
    http, address = cluster
    place, deadline = str(tmp_path / "workspace"), time.monotonic() + 150
    submit = ("submit", str(campaign_file), "-a", http, "-w", place, "--tracking", "off")
    submitted = fleet(environment, *submit)
    assert submitted.returncode == 0, submitted.stderr
    job = submitted.stdout.split("submitted: ")[1].split(";")[0]
    while not list(Path(place).glob("artifacts/language-adapter/*/record.json")) and time.monotonic() < deadline:
        time.sleep(0.2)
    stopped = fleet(environment, "jobs", "stop", job, "-a", http)
    assert f"stopped: {job}" in stopped.stdout, stopped.stderr
    while "STOPPED" not in (shown := fleet(environment, "jobs", "status", job, "-a", http)).stdout:
        assert time.monotonic() < deadline, shown.stdout
    before = {file: file.stat().st_mtime_ns for file in Path(place).glob("artifacts/*/*/record.json")}
    assert any("language-adapter" in str(file) for file in before)

    # The driver runs outside the cluster now, and its code goes to the workers by itself.
    on = fleet(environment, "run", str(campaign_file), "-w", place, "--tracking", "off", "--address", address)
    assert on.returncode == 0, on.stderr
    assert all(file.stat().st_mtime_ns == moment for file, moment in before.items())
    jobs = {record.job for record in ArtifactStore(Path(place)).records()}
    assert jobs >= {"language-adapter", "task-adapter", "merge", "search", "evaluation"}
    assert TOKEN not in "".join(file.read_text() for file in Path(place).rglob("record.json"))

    again = fleet(environment, *submit, "--follow")
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-2000:]
    assert "0 steps executed" in again.stdout and "SUCCEEDED" in again.stdout
    second = again.stdout.split("submitted: ")[1].split(";")[0]
    listed = fleet(environment, "jobs", "list", "-a", http).stdout
    assert job in listed and second in listed and "SUCCEEDED" in listed
    assert "0 steps executed" in fleet(environment, "jobs", "logs", second, "-a", http).stdout


def test_a_job_of_another_version_leaves_with_both_versions_named(cluster, campaign_file, environment, tmp_path):
    from orchestrator.clusters.ray.connect import STAMP, stamp

    theirs = stamp().replace('"python": "3.', '"python": "2.')
    command = ("run", str(campaign_file), "-w", str(tmp_path), "--tracking", "off", "--address", cluster[1])
    answer = fleet({**environment, STAMP: theirs}, *command)
    assert answer.returncode == 2
    (line,) = answer.stderr.splitlines()
    assert "driver and cluster differ" in line and " where it was submitted, " in line


@pytest.mark.parametrize("way", ["http", "direct"])
def test_a_wrong_token_is_one_line(cluster, campaign_file, environment, tmp_path, way):
    address = cluster[0] if way == "http" else cluster[1]
    wrong = {**environment, "RAY_AUTH_TOKEN": "another-token-of-enough-characters"}
    answer = fleet(
        wrong, "run", str(campaign_file), "-w", str(tmp_path / "ws"), "--address", address, "--tracking", "off"
    )
    assert answer.returncode == 2, answer.stderr
    assert "does not take this token" in answer.stderr.splitlines()[-1]
    assert "another-token" not in answer.stdout + answer.stderr


def test_a_job_that_is_not_there_is_one_line(cluster, environment):
    answer = fleet(environment, "jobs", "logs", "nothing", "-a", cluster[0])
    assert answer.returncode == 2 and answer.stderr == (
        "error: JOB: the cluster knows no such job (got nothing); `adapterfleet jobs list` shows those that it knows\n"
    )


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "http://127.0.0.1:{port}", "ray://127.0.0.1:{port}"])
def test_no_cluster_at_the_address_is_one_line(campaign_file, environment, tmp_path, address):
    command, port = ["run", str(campaign_file), "-w", str(tmp_path / "ws"), "--tracking", "off"], free_port()
    door = {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{port}"} if "ray:" in address else {}
    answer = fleet(environment | door, *command, "--address", address.format(port=port))
    assert answer.returncode == 2, answer.stderr
    (line,) = answer.stderr.splitlines()
    assert "no Ray cluster at the address" in line


class _OldRay(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"version": "4", "ray_version": "2.9.3", "ray_commit": "", "session_name": ""}')

    def log_message(self, *arguments):
        """Print nothing."""


def test_a_cluster_of_another_ray_is_one_line_that_names_both(campaign_file, environment, tmp_path):
    server = HTTPServer(("127.0.0.1", 0), _OldRay)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    answer = fleet(environment, "submit", str(campaign_file), "-a", address, "-w", str(tmp_path))
    server.shutdown()
    assert answer.returncode == 2, answer.stderr
    (line,) = answer.stderr.splitlines()
    assert f"Ray 2.9.3 there, Ray {ray.__version__} here" in line


def test_a_relative_workspace_and_a_secret_are_refused_before_anything_is_sent(campaign_file, environment):
    from jobs.errors import InputError
    from orchestrator.clusters.bundle import shipped_environment

    with pytest.raises(InputError, match=r"looks like a secret.*MY_API_KEY") as refused:
        shipped_environment(["MY_API_KEY"], {"MY_API_KEY": "hidden-value"})
    assert "hidden-value" not in str(refused.value)
    assert shipped_environment(["MINE"], {"MINE": "1", "OMP_NUM_THREADS": "2", "OTHER": "3", "HF_TOKEN": "x"}) == {
        "MINE": "1", "OMP_NUM_THREADS": "2",
    }  # fmt: skip
