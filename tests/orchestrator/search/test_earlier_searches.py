"""What is said of a search whose settings were changed: the difference, what is kept, and what simply goes on."""

import dataclasses

import pytest
from typer.testing import CliRunner

from jobs.spec import JobCall, JobResult, StrategySpec, TrialScores
from orchestrator.cli.app import app
from orchestrator.search.earlier_searches import MOST_LINES, change_lines, earlier_searches, value_text
from orchestrator.search.score_cache import SCORES, ScoreCache
from orchestrator.search.session import Session
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.step import make_step
from tests.orchestrator.campaign_files import planned, write_data, write_file


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "workspace")


def with_adapters(store, plan):
    """Adapter steps whose bytes are there; nothing reads them."""
    for step in plan.steps:
        if step.job in ("initial-adapter", "language-adapter", "task-adapter"):
            staging = store.stage(step)
            (staging / "adapter.safetensors").write_text(step.key)
            store.commit(step, staging, JobResult(), {})


def search_of(plan):
    return next(c.search for c in plan.comparisons if c.task.name == "ner" and c.target == "gl")


def score_some(store, step, count):
    """A search that was stopped after `count` trials."""
    inputs = {role: store.path(source.key) for role, source in step.inputs}
    call = JobCall(step.key, step.spec, inputs, store.staging(step), store.checkpoint(step), store.cache)
    session = Session(call, ScoreCache(store.cache / SCORES))
    for number in range(count):
        session.tell(session.ask(), TrialScores({seed: float(number) for seed in step.spec.seeds}, {}, 1.0))


def test_an_unfinished_search_with_other_settings_is_shown_with_what_is_kept(tmp_path, store):
    before = planned(tmp_path)
    with_adapters(store, before)
    score_some(store, search_of(before), 3)
    assert change_lines(store, before.steps, [search_of(before)]) == [
        f"{search_of(before).key} goes on with 3 kept scores"
    ]
    after = planned(tmp_path, {"search.strategy": "coarse", "search.evaluations": 9})
    (line,) = change_lines(store, after.steps, [search_of(after)])
    assert f"begins beside {search_of(before).key} (unfinished, 3 scores)" in line
    assert "strategy.evaluations the default -> 9" in line and "strategy.name the default -> coarse" in line
    assert "3 of 5 candidates have scores that are kept" in line


def test_a_finished_search_is_found_by_what_it_asks_though_its_space_and_name_changed(tmp_path, store):
    before = planned(tmp_path)
    with_adapters(store, before)
    step = search_of(before)
    score_some(store, step, 5)
    store.commit(step, store.stage(step), JobResult(details={"candidates": [{}] * 5}), {})
    assert change_lines(store, before.steps, [step]) == []
    after = planned(tmp_path, {"comparisons.0.related": {"top": 2}, "search.lambda_step": 0.5})
    (line,) = change_lines(store, after.steps, [search_of(after)])
    assert f"{step.key} (finished)" in line and "space.lambdas" in line and "space.pairs" in line
    assert "3 of 5 candidates have scores that are kept" in line
    write_data(tmp_path, ("ca",))
    other = planned(tmp_path, {"comparisons.0.targets": ["ca"]})
    new = next(c.search for c in other.comparisons if c.target == "ca")
    assert change_lines(store, other.steps, [new]) == []


def test_without_the_adapters_nobody_knows_what_is_kept(tmp_path, store):
    step = search_of(planned(tmp_path))
    score_some(store, dataclasses.replace(step, inputs=()), 0)
    after = search_of(planned(tmp_path, {"search.lambda_step": 0.5}))
    (line,) = change_lines(store, [after])
    assert "shows when its adapters are there" in line


def test_many_changed_searches_are_counted(tmp_path, store):
    step = search_of(planned(tmp_path))
    score_some(store, dataclasses.replace(step, inputs=()), 0)
    seeds = range(1, MOST_LINES + 4)
    new = [make_step(dataclasses.replace(step.spec, strategy=StrategySpec(seed=n)), dict(step.inputs)) for n in seeds]
    lines = change_lines(store, new)
    assert len(lines) == MOST_LINES + 1 and lines[-1] == "and 3 more searches like these"


def test_torn_settings_are_no_search(tmp_path, store):
    step = search_of(planned(tmp_path))
    score_some(store, dataclasses.replace(step, inputs=()), 0)
    (store.checkpoint(step) / "search.json").write_text('{"target": "gl"')
    assert earlier_searches(store) == []


def test_explain_prints_it(tmp_path, store):
    before = planned(tmp_path)
    with_adapters(store, before)
    score_some(store, search_of(before), 2)
    file = write_file(tmp_path, {"search.lambda_step": 0.125})
    shown = CliRunner().invoke(app, ["explain", str(file), "search/gl-ner", "--workspace", str(store.root)])
    assert shown.exit_code == 0, shown.output
    assert "begins beside" in shown.output and "2 of 9 candidates" in shown.output
    assert "the nearest finished step" not in shown.output and "is new" in shown.output


def test_values_are_short():
    assert value_text([0, 0.25, 0.5, 0.75, 1]) == "0, 0.25 ... 1 (5)"
    assert value_text(None) == "the default" and value_text("tpe") == "tpe"
    assert len(value_text([["a" * 50, "b" * 50]])) < 70
