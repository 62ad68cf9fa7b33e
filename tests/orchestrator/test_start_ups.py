"""What processes took to start is kept by runs and taken by simulations."""

import pytest
from typer.testing import CliRunner

from jobs.job import JobResult
from orchestrator import start_ups
from orchestrator.cli import app
from orchestrator.simulate_engine import Overheads
from orchestrator.start_ups import BankClock, StartUpLog, known_start_ups
from tests.orchestrator.campaign_files import write_data, write_file


def trained(seconds, **details):
    return JobResult({"seconds": seconds}, {}, details)


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [100.0]
    monkeypatch.setattr(start_ups.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(("together", "beside"), [(True, 12.0), (False, 7.0)])
def test_what_a_bank_took_beside_its_training(clock, together, beside):
    bank = BankClock(together)
    bank.take(trained(8.0))
    bank.take(RuntimeError("one diverged"))
    bank.take(trained(5.0))
    clock[0] += 20.0
    assert bank.beside() == pytest.approx(beside)


def test_a_bank_that_failed_or_went_on_tells_nothing(clock):
    failed, resumed = BankClock(True), BankClock(True)
    failed.take(RuntimeError("out of memory"))
    resumed.take(trained(3.0, resumed_from_step=40))
    clock[0] += 20.0
    assert failed.beside() is None and resumed.beside() is None


def test_without_measurements_the_built_in_numbers_count(tmp_path):
    known = known_start_ups(tmp_path, {})
    assert known.overheads == Overheads() and set(known.sources.values()) == {"built in"}


def test_the_latest_measurements_count_and_what_is_assumed_counts_more(tmp_path):
    log = StartUpLog(tmp_path)
    for seconds in [*[100.0] * 5, *range(20)]:
        log.note("bank", seconds)
    log.note("worker", 4.0)
    with (tmp_path / start_ups.FILE).open("a") as stream:
        stream.write('{"kind": "worker", "seconds": 900.0}\n{"kind": "sea')  # without a checksum, and torn
    known = known_start_ups(tmp_path, {"search": 30.0})
    assert (known.overheads.bank, known.overheads.worker, known.overheads.search) == (9.5, 4.0, 30.0)
    assert known.sentence() == (
        "start-up: bank 9.5 s (measured 20 times in this workspace), worker 4.0 s (measured 1 times in this workspace), "
        "search 30.0 s (as assumed)"
    )


def test_the_command_simulates_with_what_this_workspace_measured(tmp_path):
    write_data(tmp_path)
    jobs = ("initial-adapter", "language-adapter", "task-adapter", "search", "merge", "evaluation", "worker-start-up")
    assumed = [word for job in jobs for word in ("--assume", f"{job}=5")]
    command = ["plan", str(write_file(tmp_path)), "-w", str(tmp_path / "ws"), "--cluster", "nodes=2,cpus=1", *assumed]
    quick = CliRunner().invoke(app, command, catch_exceptions=False).output
    StartUpLog(tmp_path / "ws").note("bank", 3600.0)
    slow = CliRunner().invoke(app, command, catch_exceptions=False).output
    assert "bank 7.0 s (built in), worker 5.0 s (as assumed)" in quick
    assert "bank 3600.0 s (measured 1 times in this workspace)" in slow
    assert "makespan 0:" in quick and "makespan 0:" not in slow
