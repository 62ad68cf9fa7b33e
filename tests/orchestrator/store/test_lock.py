import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.errors import InputError
from orchestrator.store import lock
from orchestrator.store.lock import is_held, run_lock

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys, time
from pathlib import Path
from orchestrator.store.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_run_says_who_holds_it(tmp_path, holder):
    assert is_held(tmp_path)
    with pytest.raises(InputError) as caught, run_lock(tmp_path):
        pass
    said = str(caught.value)
    assert "another run goes on here" in said and f"process {holder.pid} on " in said
    assert "adapterfleet status" in said


def test_a_killed_holder_leaves_no_lock(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not is_held(tmp_path)
    with run_lock(tmp_path):
        assert is_held(tmp_path)
    assert not is_held(tmp_path)


def test_a_lock_is_free_before_its_first_run_and_after_an_error(tmp_path):
    assert not is_held(tmp_path / "none")
    with pytest.raises(ZeroDivisionError), run_lock(tmp_path):
        1 / 0  # noqa: B018
    assert not is_held(tmp_path)


def test_a_holder_that_has_not_written_its_name_yet_is_no_crash(tmp_path):
    for text in ("", "3", '{"pid": 1}'):
        with (tmp_path / "run.lock").open("w") as stream:
            stream.write(text)
            stream.flush()
            fcntl.flock(stream, fcntl.LOCK_EX)
            with pytest.raises(InputError, match="a process that has just started"), run_lock(tmp_path):
                pass


def test_someone_who_looks_at_the_lock_keeps_nobody_out(tmp_path, monkeypatch):
    file = tmp_path / "run.lock"
    file.touch()
    waits = []
    with file.open() as looking:

        def look_away(seconds):
            waits.append(seconds)
            fcntl.flock(looking, fcntl.LOCK_UN)

        monkeypatch.setattr(lock.time, "sleep", look_away)
        fcntl.flock(looking, fcntl.LOCK_SH)
        with run_lock(tmp_path):
            assert len(waits) == 1
