from dataclasses import replace

import pytest

from jobs.spec import JobResult
from orchestrator.scheduling.cost import cost_model
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.record import Record
from orchestrator.store.step import make_step
from tests.orchestrator.campaign_files import planned
from tests.orchestrator.toy_steps import THETA, A, B, commit


def on(step, name):
    return make_step(replace(step.spec, backbone=replace(step.spec.backbone, name=name)))


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "ws")


def test_an_unknown_backbone_has_no_estimate():
    assert cost_model(()).seconds(A) is None


def test_the_embedded_backbone_has_one_for_every_job(tmp_path):
    model = cost_model(())
    for step in planned(tmp_path).steps:
        assert model.seconds(on(step, "cldr-mini")) > 0


def test_longer_training_costs_more():
    longer = replace(A.spec, training=replace(A.spec.training, optimizer_steps=40))
    model = cost_model(())
    assert model.seconds(on(make_step(longer), "cldr-mini")) == pytest.approx(4 * model.seconds(on(A, "cldr-mini")))


def test_finished_steps_of_the_job_are_better_than_a_guess(store):
    commit(store, A)
    model = cost_model(store.records())
    assert model.seconds(B) == 2.0 and model.seconds(THETA) is None


def test_a_search_costs_what_its_trials_took_and_one_that_the_cache_answered_tells_nothing():
    def search(name, computed, seconds):
        spec = {"backbone": {"revision": "r"}, "seeds": [1, 2]}
        details = {"evaluations": 4, "cost": {"computed": computed, "seconds": seconds}}
        return Record(name, "search", name, name, {"spec": spec}, {}, {}, {}, {}, details, {"seconds": 30.0})

    model = cost_model([search("a", 4.0, 8.0), search("b", 2.0, 4.0), search("c", 0.0, 0.0)])
    assert model.seen["search", "r"] == pytest.approx(1.0)
    assert not cost_model([search("c", 0.0, 0.0)]).seen


def test_epochs_cost_what_the_rows_of_the_data_come_to_once_they_are_counted(store):
    def of(seed, **training):
        return make_step(replace(A.spec, seed=seed, training=replace(A.spec.training, optimizer_steps=0, **training)))

    three, six = of(1, epochs=3), of(2, epochs=6)
    assert cost_model(()).seconds(on(three, "cldr-mini")) is None  # nobody knows how much data there is
    staging = store.stage(three)
    (staging / "adapter.txt").write_text("adapter")
    details = {"train_rows": 31, "optimizer_steps_asked": 48}  # 16 batches of 2 rows, 3 times
    store.commit(three, staging, JobResult({}, {}, details), {"seconds": 2.0})
    model = cost_model(store.records())
    assert model.seconds(six) == pytest.approx(4.0) and model.seconds(A) == pytest.approx(2.0 * 10 / 48)
    other = replace(six.spec, corpus=replace(six.spec.corpus, language="b"))
    assert model.seconds(make_step(other)) is None


def test_epochs_over_a_limited_task_cost_at_most_the_limit(tmp_path):
    changes = {"task_adapter.training": {"epochs": 2, "batch_size": 8}, "tasks.0.data.limits": {"train": 60}}
    step = next(step for step in planned(tmp_path, changes).steps if step.job == "task-adapter")
    same = make_step(replace(step.spec, training=replace(step.spec.training, epochs=0, optimizer_steps=2 * 8)))
    model = cost_model(())
    assert model.seconds(on(step, "cldr-mini")) == model.seconds(on(same, "cldr-mini")) > 0
