"""The steps of a campaign on an encoder of mmBERT's shape, one after another in one process."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from tiny_backbone import make_backbone
from tiny_fleet import TASK, Fleet, write_corpus

from jobs.adapters.adapterhub import read_adapter
from jobs.adapters.loading_code import loading_code
from jobs.adapters.model_card import loading_snippet
from jobs.errors import InputError
from jobs.evaluation.evaluator import Stack
from jobs.models.rows import Rows
from jobs.spec import (
    EvaluationSpec,
    JobCall,
    MergeSpec,
    Mixture,
    MixtureSpace,
    SearchSpec,
    TaskRef,
    TrainingConfig,
    no_progress,
)
from jobs.tokens.evaluation_sets import EvaluationSet
from jobs.worker import Worker

STEPS = TrainingConfig(
    optimizer_steps=12, batch_size=4, learning_rate=5e-3, max_length=16, evaluate_every=6, evaluation_examples=20
)
TEXT = TaskRef("text", "masked-lm")


class World:
    """A backbone, a worker, and what its steps left by their names."""

    def __init__(self, folder):
        self.folder, self.worker = folder, Worker()
        self.fleet = Fleet(folder, make_backbone(folder / "backbone", "modernbert"))
        self.corpus = write_corpus(folder / "corpora", "gl")
        self.made = {}

    def run(self, name, spec, inputs):
        place = self.folder / name
        place.mkdir()
        call = JobCall(name, spec, inputs, place, self.folder / "none", self.folder / "cache")
        self.made[name] = place
        return self.worker.run(call, no_progress)

    def run_call(self, name, call):
        self.made[name] = call.output
        return self.worker.run(call, no_progress)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two languages trained, and a task adapter on one of them."""
    world = World(tmp_path_factory.mktemp("world"))
    for language in ("en", "es"):
        result = world.run_call(language, world.fleet.call(language, STEPS))
        (_, first), *_, (_, last) = result.series["validation_loss"]
        assert last < first
        assert result.details["by_interface"]
    training = dataclasses.replace(STEPS, evaluate_every=12)
    result = world.run_call("ner", world.fleet.task_call(world.made["en"], training))
    assert result.details["by_interface"] and 0 <= result.metrics["validation_f1"] <= 100
    return world


def test_the_winner_of_a_search_is_merged_and_scores_on_its_own_what_it_scored_as_a_candidate(world):
    spec = SearchSpec("gl", TEXT, world.corpus, world.fleet.backbone, MixtureSpace((("en", "es"),), (0.3,)), (1,), 16)
    inputs = {f"language:{code}@1": world.made[code] for code in ("en", "es")} | {"theta_pre": world.fleet.theta_pre}
    found = world.folder / "search"
    found.mkdir()
    mixture = Mixture((("en", 0.3), ("es", 0.7)))
    call = JobCall("search", spec, inputs, found, found, world.folder / "cache")
    candidate = world.worker.score(call, mixture).values[1]
    (found / "winner.json").write_text(json.dumps({"weights": dict(mixture.weights)}))
    result = world.run("merged", MergeSpec("gl", "text", world.fleet.backbone, 1), {"search": found, **inputs})
    assert result.details["by_interface"]
    merged, base = read_adapter(world.made["merged"]), read_adapter(world.fleet.theta_pre)
    en, es = (read_adapter(world.made[code]).tensors for code in ("en", "es"))
    for name, tensor in merged.tensors.items():
        start = base.tensors[name]
        torch.testing.assert_close(tensor, start + 0.3 * (en[name] - start) + 0.7 * (es[name] - start))
    evaluation = EvaluationSpec("gl", TEXT, world.corpus, world.fleet.backbone, 1, (("merge", 1.0),), "validation", 16)
    scored = world.run("scored", evaluation, {"merge": world.made["merged"]})
    assert scored.metrics["mlm_loss"] == pytest.approx(candidate, rel=1e-5)


def test_the_card_s_lines_load_language_and_task_adapter_with_plain_adapters(world):
    backbone, ner = world.fleet.backbone, world.made["ner"]
    known = {}
    code = loading_code(backbone, str(ner), language=str(world.made["en"]), by_interface=True)
    exec(code, known)
    data = world.fleet.task_call(world.made["en"], STEPS, "again").spec.data
    evaluator = world.worker._warm_evaluator(backbone, world.folder / "cache")
    prepared = evaluator.prepared(EvaluationSet(TASK, data, "validation", 16))
    stack = Stack(Mixture((("en", 1.0),), "linear"), {"en": world.made["en"]}, ner)
    with torch.inference_mode():
        ours = evaluator._outputs(prepared, evaluator._merged(stack), TASK, ner)
    model = known["model"].eval()
    assert prepared.batches
    for batch, outputs in zip(prepared.batches, ours, strict=True):
        rows: Rows = batch.rows
        keep = torch.ones_like(rows.ids) if rows.keep is None else rows.keep.long()
        with torch.no_grad():
            theirs = known["head"](model.base_model(input_ids=rows.ids, attention_mask=keep).last_hidden_state)
        torch.testing.assert_close(outputs, theirs.flatten(0, 1)[rows.positions[0]], rtol=1e-4, atol=1e-5)


def test_the_card_of_a_merge_by_recipe_loads_it_too(world):
    adapter = read_adapter(world.made["en"])
    code = (
        loading_snippet(adapter).replace("'tiny'", repr(world.fleet.backbone.path)).replace('"."', repr(adapter.path))
    )
    known = {}
    exec(code, known)
    parameters = dict(known["model"].named_parameters())
    assert known["model"].active_adapters is not None
    for name, tensor in adapter.tensors.items():
        assert torch.equal(parameters[name.replace("*", adapter.name)], tensor)


def test_dropout_of_a_backbone_whose_pass_is_the_library_s_is_refused(world):
    training = dataclasses.replace(STEPS, backbone_dropout=0.1)
    for call in (
        world.fleet.call("fr", training),
        world.fleet.task_call(world.made["en"], training, "dropped"),
    ):
        with pytest.raises(InputError, match=r"backbone_dropout is for XLM-R, RoBERTa, BERT.*0\.1 in ModernBERT"):
            world.worker.run(call, no_progress)
