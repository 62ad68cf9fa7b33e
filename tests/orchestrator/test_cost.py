from dataclasses import replace

import pytest

from orchestrator.cost import cost_model
from orchestrator.step import make_step
from orchestrator.store import ArtifactStore
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
