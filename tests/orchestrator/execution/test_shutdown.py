"""SIGTERM: no more steps begin, what is under way saves its state, the exit code is 75, the same command goes on."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from jobs.banks import bank
from jobs.runtime.shutdown import LEFT, ShutdownRequested
from jobs.training import loop
from orchestrator.campaign.load import load_campaign
from orchestrator.execution.local import LocalExecutor
from orchestrator.execution.loop import execute
from orchestrator.execution.shutdown import ShutdownRequest
from orchestrator.plan.pinned_references import References
from orchestrator.plan.plan import plan_campaign
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.layout import campaign_folder
from orchestrator.store.lock import is_held
from tests.forks import as_module, ended, forked
from tests.orchestrator.same_results import content
from tests.orchestrator.small_campaign import write_campaign
from tests.orchestrator.toy_steps import STEPS, THETA, A, B, C, ToyExecutor, job


def ignore(event):
    """Nobody watches."""


def test_the_first_signal_is_noted_and_the_second_ends_the_run_where_it_stands():
    before = signal.getsignal(signal.SIGTERM)
    with ShutdownRequest(grace=100.0) as shutdown:
        assert not shutdown.is_requested and shutdown.seconds_left == float("inf")
        os.kill(os.getpid(), signal.SIGTERM)
        assert shutdown.is_requested and 0.0 < shutdown.seconds_left <= 100.0
        with pytest.raises(ShutdownRequested) as told:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5.0)
    assert told.value.code == LEFT == 75 and shutdown.seconds_left == 0.0
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_end_of_the_grace_period_ends_a_run_that_looks_at_nothing():
    with pytest.raises(ShutdownRequested), ShutdownRequest(grace=0.05):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5.0)


def test_where_nobody_listens_no_signal_follows():
    shutdown = ShutdownRequest(grace=0.05)
    shutdown.begin()
    time.sleep(0.3)
    assert shutdown.is_requested and shutdown.seconds_left == 0.0


def test_what_is_finished_is_recorded_and_nothing_more_begins(tmp_path):
    shutdown, store = ShutdownRequest(), ArtifactStore(tmp_path)

    def told_in_the_second(work):
        if work.step.key == C.key:
            shutdown.begin()
        return job(work)

    executor = ToyExecutor(told_in_the_second)
    with pytest.raises(ShutdownRequested):
        execute(STEPS, store, executor, ignore, {}, shutdown=shutdown)
    # All three languages had been handed over when the signal came; no merge had.
    assert set(executor.ran) == {record.name for record in store.records()} == {s.name for s in (THETA, A, B, C)}
    again = execute(STEPS, store, ToyExecutor(), ignore, {})
    assert again.count("reused") == 4 and again.count("succeeded") == 3


def test_a_failure_on_the_way_out_is_not_held_against_its_step(tmp_path):
    shutdown, store, events = ShutdownRequest(), ArtifactStore(tmp_path), []

    def dies_with_the_run(work):
        if work.step.key == B.key:
            shutdown.begin()
            raise RuntimeError("its worker was taken away")
        return job(work)

    with pytest.raises(ShutdownRequested):
        execute(STEPS, store, ToyExecutor(dies_with_the_run), events.append, {}, shutdown=shutdown)
    assert "failed" not in {getattr(event, "state", "") for event in events}


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    file = write_campaign(tmp_path_factory.mktemp("campaign"), steps=12)
    calm = ArtifactStore(tmp_path_factory.mktemp("calm"))
    plan = plan_campaign(load_campaign(file), References(calm.cache))
    assert not execute(plan.steps, calm, LocalExecutor(), ignore, {}).errors
    return plan, {record.key: content(record) for record in calm.records()}


@pytest.mark.parametrize("kind", ["language-adapter", "task-adapter", "search"])
def test_what_is_under_way_saves_its_state_and_goes_on_from_it(kind, campaign, tmp_path, monkeypatch):
    plan, calm = campaign
    monkeypatch.setattr(bank, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
    shutdown, store = ShutdownRequest(), ArtifactStore(tmp_path)

    class Told(LocalExecutor):
        def _progress(self, name, values):
            if name.startswith(kind) and not shutdown.is_requested:
                shutdown.begin()
            super()._progress(name, values)

    with pytest.raises(ShutdownRequested):
        execute(plan.steps, store, Told(shutdown=shutdown), ignore, {}, shutdown=shutdown)
    assert list((tmp_path / "checkpoints").glob(f"{kind}/*/*"))
    assert not execute(plan.steps, store, LocalExecutor(), ignore, {}).errors
    assert {record.key: content(record) for record in store.records()} == calm
    if kind != "search":
        assert any(record.job == kind and record.details.get("resumed_from_step") for record in store.records())


def test_a_real_run_that_is_evicted_leaves_in_order(tmp_path):
    # All three in one bank: a size that is chosen by time may be less on a busy machine.
    file = write_campaign(tmp_path / "campaign", steps=10**6, bank_size=3)
    place = campaign_folder(tmp_path / "ws", "small")
    words = ["run", str(file), "-w", str(tmp_path / "ws"), "--executor", "local", "--tracking", "off"]
    run = forked(as_module, "orchestrator", *words, log=tmp_path / "log")
    while not list((tmp_path / "ws").glob("staging/language-adapter/*")):
        assert run.is_alive(), (tmp_path / "log").read_text()
        time.sleep(0.05)
    run.terminate()
    code, said = ended(run), (tmp_path / "log").read_text()
    assert code == LEFT, said
    assert "told to end, and left in order" in said and "Traceback" not in said
    assert json.loads((place / "status.json").read_text())["outcome"] == "interrupted"
    assert len(list((tmp_path / "ws").glob("checkpoints/language-adapter/*/training-*"))) == 3
    assert not is_held(place) and not is_held(tmp_path / "ws")
