from dataclasses import replace

import pytest

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
