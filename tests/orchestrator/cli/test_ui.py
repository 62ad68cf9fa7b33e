"""`adapterfleet ui`: nobody but this machine reaches MLflow's pages."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from orchestrator.store.artifacts import ArtifactStore
from tests.orchestrator.s3_server import free_port

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.timeout(120)


def test_every_socket_of_the_pages_is_on_loopback(tmp_path):
    port = free_port()
    ArtifactStore(tmp_path / "ws")
    command = [sys.executable, "-m", "orchestrator", "ui", "-w", str(tmp_path / "ws"), "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait(server, port, tmp_path / "log")
        opened = _listening(server.pid)
        assert ("127.0.0.1", port) in opened
        assert {address for address, _ in opened} == {"127.0.0.1"}
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait(server: subprocess.Popen, port: int, log: Path) -> None:
    for _ in range(500):
        assert server.poll() is None, log.read_text(errors="replace")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(log.read_text(errors="replace"))


def _listening(pid: int) -> set[tuple[str, int]]:
    """(address, port) of every socket that the process and those below it listen on."""
    root = psutil.Process(pid)
    sockets = [s for process in (root, *root.children(recursive=True)) for s in process.net_connections("inet")]
    return {(socket.laddr.ip, socket.laddr.port) for socket in sockets if socket.status == psutil.CONN_LISTEN}
