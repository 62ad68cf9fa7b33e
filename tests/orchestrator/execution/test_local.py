"""What every executor promises, on a campaign that really trains."""

import io
import json

import pytest
from rich.console import Console
from safetensors.torch import load_file
from torch.testing import assert_close

from jobs.errors import InputError
from orchestrator.campaign.load import load_campaign
from orchestrator.execution.executor import LazyExecutor, StepStateChanged
from orchestrator.execution.local import LocalExecutor
from orchestrator.execution.loop import execute
from orchestrator.plan.pinned_references import References
from orchestrator.plan.plan import plan_campaign
from orchestrator.results.critical_path import critical_path
from orchestrator.results.run_times import USES, last_run
from orchestrator.run import RunSettings, run_campaign
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.record import read_record
from tests.orchestrator.small_campaign import write_campaign

# name -> (plan, store) -> executor. That of Ray has tests of its own.
EXECUTORS = {
    "local": lambda plan, store: LocalExecutor(),
    "local, one at a time": lambda plan, store: LocalExecutor(bank_size=1),
}
TIMED = {"seconds", "tokens_per_second"}


class Idle:
    """Refuses all work."""

    name = "idle"

    def submit(self, works):
        raise AssertionError(f"work where all was finished: {[work.step.key for work in works]}")

    def poll(self, timeout):
        return ()

    def close(self):
        """Nothing to close."""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_campaign(tmp_path_factory.mktemp("campaign"), steps=10)


@pytest.fixture(scope="module")
def plan(file, tmp_path_factory):
    return plan_campaign(load_campaign(file), References(tmp_path_factory.mktemp("cache")))


def run(plan, store, make=None, watch=lambda event: None):
    executor = make(plan, store) if make else Idle()
    try:
        return execute(plan.steps, store, executor, watch, {})
    finally:
        executor.close()


@pytest.fixture(scope="module", params=EXECUTORS)
def finished(request, plan, tmp_path_factory):
    store = ArtifactStore(tmp_path_factory.mktemp("ws"))
    make, seen = EXECUTORS[request.param], []
    return store, run(plan, store, make, seen.append), make, seen


def losses(store):
    """Validation loss of every trained adapter."""
    return {r.key: r.metrics["validation_loss"] for r in store.records() if "validation_loss" in r.metrics}


def test_all_steps_succeed_and_their_records_are_complete(plan, finished):
    store, summary, _, seen = finished
    assert summary.errors == {} and summary.count("succeeded") == len(plan.steps)
    for step in plan.steps:
        record = store.find(step)
        store.verify(record)
        assert record.provenance["seconds"] >= 0 and record.provenance["started"] <= record.provenance["finished"]
    states = {e.step.key: e.state for e in seen if isinstance(e, StepStateChanged)}
    assert set(states.values()) == {"succeeded"}


def test_nothing_is_left_lying_about(finished):
    store = finished[0]
    for place in ("staging", "checkpoints"):
        assert not list((store.root / place).glob("*/*"))


def test_a_second_execution_reuses_all(plan, finished):
    summary = run(plan, ArtifactStore(finished[0].root))
    assert summary.count("reused") == len(plan.steps)


def test_every_search_tried_its_whole_grid_on_validation_data(plan, finished):
    for step in (step for step in plan.steps if step.job == "search"):
        details = finished[0].find(step).details
        assert details["evaluations"] == len(details["candidates"]) == 3
        means = [row["mean"] for row in details["candidates"]]
        assert details["winner"]["mean"] == (max if details["mode"] == "max" else min)(means)


def test_the_merged_winner_scores_what_an_evaluation_says(plan, finished):
    store = finished[0]
    for comparison in plan.comparisons:
        winner = store.find(comparison.search).details["winner"]["weights"]
        alone = {s.languages: s.evaluations[0][1] for s in comparison.systems if s.role == "proxy"}
        if len(winner) == 1:  # an end of the grid is one of the proxies: the same adapter, the same score
            proxy = store.find(alone[tuple(winner)]).metrics
            merged = store.find(comparison.systems[-1].evaluations[0][1]).metrics
            assert merged == pytest.approx(proxy, rel=1e-4)


def test_a_damaged_adapter_is_trained_again_to_the_same_result(plan, finished):
    store, _, make, _ = finished
    before = losses(store)
    dependant = next(step for step in plan.steps if step.job == "evaluation" and "language:pt" in dict(step.inputs))
    adapter = dict(dependant.inputs)["language:pt"]
    weights = next(store.path(adapter.key).glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    (store.path(dependant.key) / "record.json").unlink()
    summary = run(plan, ArtifactStore(store.root), make)
    assert summary.errors == {} and summary.count("succeeded") == 2, summary.notes
    assert any(adapter.key in note and "computed again" in note for note in summary.notes)
    assert losses(store) == pytest.approx(before, rel=1e-4)  # alone, not in its bank: equal but for rounding


@pytest.mark.parametrize("name", list(EXECUTORS)[:1])
def test_a_broken_corpus_fails_its_language_and_the_others_go_on(name, tmp_path):
    folder = tmp_path / "campaign"
    plan = plan_campaign(load_campaign(write_campaign(folder, steps=5)), References(tmp_path / "cache"))
    related = {one.code for comparison in plan.comparisons for one in comparison.related.chosen}
    (lost,) = {"es", "pt"} - related
    (folder / "data" / f"{lost}-train.txt").write_text("")
    store = ArtifactStore(tmp_path / "ws")
    summary = run(plan, store, EXECUTORS[name])
    (failed,) = summary.errors
    assert failed.startswith(f"language-adapter/{lost}-") and "empty" in summary.errors[failed]
    assert summary.count("succeeded") == len(plan.steps) - 1


@pytest.mark.parametrize("name", list(EXECUTORS)[:1])
def test_a_backbone_that_cannot_be_read_fails_steps_and_not_the_run(name, tmp_path):
    folder = tmp_path / "campaign"
    plan = plan_campaign(load_campaign(write_campaign(folder, steps=5)), References(tmp_path / "cache"))
    store = ArtifactStore(tmp_path / "ws")
    theta = execute(plan.steps[:1], store, EXECUTORS[name](plan, store), lambda event: None, {})
    assert theta.errors == {}
    config = folder / "backbone" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "model_type": "no-such-model"}))
    summary = run(plan, store, EXECUTORS[name])
    bare = {step.key for step in plan.steps if step.job == "evaluation" and not step.inputs}  # without any adapter
    assert {key for key in summary.errors if not key.startswith("language-adapter/")} == bare
    failed = 3 + len(bare)
    assert summary.count("failed") == failed and summary.count("skipped") == len(plan.steps) - 1 - failed


@pytest.fixture(scope="module")
def ended(file, tmp_path_factory):
    """A finished run whose executor ended badly: plan, workspace, outcome, what was said."""

    def breaks(executor):
        raise RuntimeError("its cluster is gone")

    workspace, said = tmp_path_factory.mktemp("ended"), io.StringIO()
    plan = plan_campaign(load_campaign(file), References(workspace / "cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalExecutor, "close", breaks)
        outcome = run_campaign(plan, RunSettings(workspace, "local", tracking="off"), Console(file=said, width=200))
    return plan, workspace, outcome, said.getvalue()


def test_an_executor_that_ends_badly_does_not_cost_the_report(ended):
    plan, _, outcome, said = ended
    assert outcome.summary.count("succeeded") == len(plan.steps) and outcome.report.html.exists()
    assert "did not end well: RuntimeError: its cluster is gone" in said


def test_all_time_of_a_run_is_told(ended):
    plan, workspace, _, _ = ended
    records = {record.key: record for record in ArtifactStore(workspace).records()}
    run = last_run(workspace, plan.campaign.campaign, records.get)
    (worker,) = run.workers  # the driver works itself
    assert run.over and run.unmeasured == 0 and run.done.keys() == records.keys() and run.computed > 0
    assert sum(worker.seconds(use) for use in USES) == pytest.approx(run.seconds)
    told = [one for record in records.values() for one in record.provenance["work"]]
    for one in told:
        assert all(seconds >= 0 for seconds in one["phases"].values()) and one["starting"] >= 0
        assert sum(one["phases"].values()) <= one["seconds"] + 1e-9
        assert run.zero - 0.01 <= one["started"] <= one["started"] + one["seconds"] <= run.zero + run.seconds + 0.01
    phases = {record.job: record.provenance["work"][0]["phases"] for record in records.values()}
    assert set(phases["language-adapter"]) == {"loading", "preparing", "computing", "writing"}
    assert phases.keys() == {step.job for step in plan.steps}
    path = critical_path(run, records)
    assert path[-1].end == max(run.done.values()) and path[0].held_by == "start"


def test_a_campaign_that_is_computed_again_comes_out_the_same(ended):
    """Byte for byte where nothing is learned or scored; sums of matrix products may end in other bits."""
    plan, workspace, _, _ = ended
    before = {record.key: record for record in ArtifactStore(workspace).records()}
    settings = RunSettings(workspace, "local", tracking="off", redo=tuple(step.key for step in plan.steps))
    outcome = run_campaign(plan, settings, Console(file=io.StringIO()))
    assert {one.key for one in outcome.redone} == before.keys()
    assert {record.key: record for record in ArtifactStore(workspace).records()} == before
    for one in outcome.redone:
        if one.equal:
            continue
        assert not one.key.startswith(("initial-adapter/", "merge/")), str(one)
        (kept,) = (workspace / "redone").glob(f"{one.key}-*")
        found, metrics = read_record(kept), before[one.key].metrics
        untimed = {name: value for name, value in metrics.items() if "second" not in name}
        assert {name: found.metrics[name] for name in untimed} == pytest.approx(untimed, rel=1e-4)
    with pytest.raises(InputError, match="STEP: no step has that name .got serach.*; try search/"):
        run_campaign(plan, RunSettings(workspace, "local", redo=("serach",)), Console(file=io.StringIO()))


def test_nothing_starts_after_the_end():
    executor = LazyExecutor(Idle, "idle")
    executor.close()
    with pytest.raises(RuntimeError, match="closed"):
        executor.submit([])


def test_a_language_does_not_depend_on_its_bank(plan, tmp_path):
    stores = [ArtifactStore(tmp_path / name) for name in ("together", "alone")]
    wanted = [step for step in plan.steps if step.job in ("initial-adapter", "language-adapter")]
    for store, size in zip(stores, (8, 1), strict=True):
        assert not execute(wanted, store, LocalExecutor(size), lambda event: None, {}).errors
    together, alone = map(losses, stores)
    assert together == pytest.approx(alone, rel=1e-4) and len(alone) == 3


def test_a_campaign_on_the_shape_of_mmbert_runs_to_its_report(tmp_path):
    """ModernBERT, which the `adapters` library has no model of: trained, searched, merged, scored and reported."""
    plan = plan_campaign(
        load_campaign(write_campaign(tmp_path / "campaign", steps=4, architecture="modernbert")),
        References(tmp_path / "cache"),
    )
    outcome = run_campaign(plan, RunSettings(tmp_path / "ws", "local", "", "off"), Console(file=io.StringIO()))
    assert not outcome.summary.errors and outcome.summary.count("succeeded") == len(plan.steps)
    store = ArtifactStore(tmp_path / "ws")
    language = {
        one.spec.language: load_file(store.path(one.key) / "adapter.safetensors")
        for one in plan.steps
        if one.job == "language-adapter"
    }
    merges = [one for one in plan.steps if one.job == "merge"]
    for step in merges:
        weights = read_record(store.path(step.key)).details["weights"]
        assert sum(weights.values()) == pytest.approx(1)
        merged = load_file(store.path(step.key) / "adapter.safetensors")
        for name, value in merged.items():
            own = {key.removeprefix("language:"): weight for key, weight in weights.items()}
            wanted = sum(w * language[code][name.replace(".gl.", f".{code}.")] for code, w in own.items())
            assert_close(value, wanted, rtol=1e-5, atol=1e-6)
    assert len(merges) == 2 and "Galician" in outcome.report.html.read_text(encoding="utf-8")
