"""A process that is told to end lets its training save first."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# As a Ray worker does: SIGTERM ends the main thread by sys.exit, and training runs in a thread of its own.
PROCESS = """
import signal, sys, threading, time
from pathlib import Path
from jobs.runtime.shutdown import StopsOnSignal
def train():
    with StopsOnSignal(grace=float(sys.argv[2])) as stopped:
        print("training", flush=True)
        while not stopped.is_set():
            time.sleep(0.01)
        time.sleep(0.3)
        Path(sys.argv[1]).write_text("saved")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
thread = threading.Thread(target=train, daemon=True)
thread.start()
while True:
    time.sleep(0.01)
"""


@pytest.mark.parametrize(("grace", "saved"), [(10.0, True), (0.0, False)])
def test_sigterm_lets_the_training_save_within_its_grace(tmp_path, grace, saved):
    file = tmp_path / "state"
    command = [sys.executable, "-c", PROCESS, str(file), str(grace)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "training\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 1
    assert file.exists() is saved
