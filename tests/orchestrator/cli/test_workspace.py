"""`adapterfleet stop`: a run of this machine is told to end and waited for; no other is touched."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.errors import InputError
from orchestrator.cli import workspace as stop_command
from orchestrator.cli.workspace import stop
from orchestrator.store.lock import is_held

ROOT = Path(__file__).parents[3]
# A run as far as its lock goes; argv: workspace, what it does when it is told to end.
RUN = """
import signal, sys, time
from pathlib import Path
from orchestrator.store.lock import run_lock
signal.signal(signal.SIGTERM, {"leaves": lambda *_: sys.exit(75), "stays": signal.SIG_IGN}[sys.argv[2]])
with run_lock(Path(sys.argv[1])):
    time.sleep(60)
"""


def running(workspace: Path, what: str) -> subprocess.Popen:
    run = subprocess.Popen([sys.executable, "-c", RUN, str(workspace), what], cwd=ROOT)
    while not is_held(workspace) or not (workspace / "run.lock").read_text():
        assert run.poll() is None
        time.sleep(0.01)
    return run


def test_the_run_is_told_and_waited_for(tmp_path, capsys):
    run = running(tmp_path, "leaves")
    stop(tmp_path)
    assert run.wait(10) == 75
    assert f"process {run.pid} has left" in capsys.readouterr().out
    stop(tmp_path)
    assert "no run goes on" in capsys.readouterr().out


def test_a_run_that_does_not_end_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(stop_command, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(stop_command, "SPARE", 0.2)
    run = running(tmp_path, "stays")
    try:
        with pytest.raises(InputError, match=f"the run does not end.*process {run.pid}"):
            stop(tmp_path)
    finally:
        run.kill()
        run.wait()


def test_a_run_on_another_machine_is_left_alone(tmp_path, monkeypatch):
    run = running(tmp_path, "leaves")
    try:
        monkeypatch.setattr(stop_command.socket, "gethostname", lambda: "another")
        with pytest.raises(InputError, match="the run goes on elsewhere.*stop it there"):
            stop(tmp_path)
        assert run.poll() is None
    finally:
        run.kill()
        run.wait()
