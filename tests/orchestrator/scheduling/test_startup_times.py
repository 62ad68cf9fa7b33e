"""What processes took to start is kept by runs and taken by simulations."""

import pytest
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.scheduling import startup_times
from orchestrator.scheduling.simulation import Overheads
from orchestrator.scheduling.startup_times import BankClock, StartupLog, known_startup_times
from orchestrator.store.artifacts import ArtifactStore
from tests.orchestrator.campaign_files import write_data, write_file


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [100.0]
    monkeypatch.setattr(startup_times.time, "monotonic", lambda: now[0])
    return now


def test_what_a_bank_took_until_it_trained_and_after_its_last_adapter(clock):
    bank = BankClock()
    for seconds, happens in ((9.0, bank.trains), (30.0, bank.trains), (5.0, bank.finished), (40.0, bank.finished)):
        clock[0] += seconds
        happens()
    clock[0] += 2.5
    assert bank.beside() == pytest.approx(9.0 - startup_times.NEWS_SECONDS + 2.5)


def test_a_bank_that_never_trained_tells_nothing_and_a_short_one_when_it_was_done(clock):
    failed, short = BankClock(), BankClock()
    clock[0] += 20.0
    short.finished()
    clock[0] += 1.5
    assert failed.beside() is None and short.beside() == pytest.approx(21.5)


def test_without_measurements_the_built_in_numbers_count(tmp_path):
    known = known_startup_times(tmp_path, {})
    assert known.overheads == Overheads() and set(known.sources.values()) == {"built in"}


def test_the_latest_measurements_count_and_what_is_assumed_counts_more(tmp_path):
    log = StartupLog(tmp_path)
    for seconds in [*[0.1] * 5, *range(20)]:
        log.note("bank", seconds)
    log.note("worker", 4.0)
    with (tmp_path / startup_times.FILE).open("a") as stream:
        stream.write('{"kind": "worker", "seconds": 900.0}\n{"kind": "sea')  # without a checksum, and torn
    known = known_startup_times(tmp_path, {"search": 30.0})
    assert (known.overheads.bank, known.overheads.worker, known.overheads.search) == (5, 4.0, 30.0)
    assert known.sentence() == (
        "start-up: bank 5.0 s (measured 20 times in this workspace), worker 4.0 s (measured 1 times in this workspace), "
        "search 30.0 s (as assumed)"
    )


def test_the_command_simulates_with_what_this_workspace_measured(tmp_path):
    write_data(tmp_path)
    jobs = ("initial-adapter", "language-adapter", "task-adapter", "search", "merge", "evaluation", "worker-start-up")
    assumed = [word for job in jobs for word in ("--assume", f"{job}=5")]
    command = ["plan", str(write_file(tmp_path)), "-w", str(tmp_path / "ws"), "--cluster", "nodes=2,cpus=1", *assumed]
    ArtifactStore(tmp_path / "ws")
    quick = CliRunner().invoke(app, command, catch_exceptions=False).output
    StartupLog(tmp_path / "ws").note("bank", 3600.0)
    slow = CliRunner().invoke(app, command, catch_exceptions=False).output
    assert "bank 7.0 s (built in), worker 5.0 s (as assumed)" in quick
    assert "bank 3600.0 s (measured 1 times in this workspace)" in slow
    assert "makespan 0:" in quick and "makespan 0:" not in slow
