from __future__ import annotations

import dataclasses

import pytest
import torch
from adapters import Stack
from lone_tasks import loss_and_gradient, train_task, trainer_of
from safetensors.torch import load_file
from stacks import stack_of
from stopped_training import Stop, stops_at
from tiny_backbone import adapter_model
from tiny_fleet import TASK, Fleet

from jobs.banks.bank import train_languages
from jobs.errors import InputError
from jobs.evaluation.madx_evaluator import WarmEvaluator
from jobs.models.encoder import FrozenEncoder, activation_named
from jobs.models.madx import bank_weights
from jobs.models.madx_backbone import load_backbone
from jobs.spec import TrainingConfig
from jobs.tasks import tagging
from jobs.tasks.heads import HEAD_SITE
from jobs.tokens.batches import collate
from jobs.tokens.evaluation_sets import EvaluationSet
from jobs.tokens.token_labels import token_labels

TRAINING = TrainingConfig(
    optimizer_steps=150, batch_size=8, learning_rate=2e-2, max_length=32, evaluate_every=30, evaluation_examples=30
)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    return Fleet(tmp_path_factory.mktemp("fleet"))


@pytest.fixture(scope="module")
def language_adapter(fleet):
    call = fleet.call("xx", dataclasses.replace(fleet.call("xx").spec.training, optimizer_steps=10))
    dict(train_languages([call]))
    return call.output


@pytest.fixture(scope="module")
def trained(fleet, language_adapter):
    call = fleet.task_call(language_adapter, TRAINING)
    return call, train_task(call)


def test_a_task_is_learned_and_the_best_weights_are_kept(trained):
    _, result = trained
    curve = result.series["validation_f1"]
    assert [step for step, _ in curve] == [30, 60, 90, 120, 150]
    assert result.metrics["validation_f1"] == max(value for _, value in curve) > 25
    assert result.metrics["best_optimizer_step"] in dict(curve)


def test_the_evaluator_scores_the_saved_adapter_as_training_did(fleet, trained, language_adapter):
    call, result = trained
    evaluator = WarmEvaluator(fleet.backbone, call.cache, "cpu")
    data = dataclasses.replace(call.spec.data, limits=(("validation", 30),))
    score = evaluator.evaluate(
        EvaluationSet(TASK, data, "validation", 32), stack_of(((language_adapter, 1.0),), call.output)
    )
    assert score.value == pytest.approx(result.metrics["validation_f1"])


def test_plain_adapters_loads_adapter_and_head_and_computes_the_same_loss(fleet, trained, language_adapter):
    call, _ = trained
    model = adapter_model(fleet.backbone)
    model.load_adapter(str(language_adapter))
    assert model.load_adapter(str(call.output)) == "ner"
    assert model.get_labels_dict("ner") == dict(enumerate(TASK.labels))
    model.set_active_adapters(Stack("xx", "ner"))
    assert model.active_head == "ner"
    example = token_labels(call.spec.data, "validation", TASK, fleet.backbone, 32, call.cache)[0]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(example.input_ids[None]).long()).logits[0]
    trainer = trainer_of(call)
    rows = collate([[tagging.example(example)]], 1, torch.device("cpu")).rows
    with torch.no_grad():
        got = trainer.encoder.outputs(rows, trainer.layout.split(trainer.learner.best[None]))
    torch.testing.assert_close(got, logits[torch.tensor(example.labels) >= 0], rtol=1e-4, atol=1e-4)


def test_the_same_call_gives_the_same_bytes(fleet, trained, language_adapter):
    call, _ = trained
    again = fleet.task_call(language_adapter, TRAINING, run="again")
    train_task(again)
    names = sorted(path.name for path in call.output.iterdir())
    assert "model_head.safetensors" in names and "head_config.json" in names
    assert all((call.output / name).read_bytes() == (again.output / name).read_bytes() for name in names)


def test_a_stopped_training_goes_on_bit_for_bit(fleet, trained, language_adapter, monkeypatch):
    stop = stops_at(monkeypatch, 70)
    call = fleet.task_call(language_adapter, TRAINING, run="stopped")
    with pytest.raises(Stop):
        train_task(call, stop)
    result = train_task(call)
    assert result.details["resumed_from_step"] == 70
    for name in ("adapter.safetensors", "model_head.safetensors"):
        assert (call.output / name).read_bytes() == (trained[0].output / name).read_bytes()


def test_two_accumulated_sentences_make_the_step_of_one_batch_of_both(fleet, language_adapter):
    made = []
    for batch, count in ((2, 1), (1, 2)):
        settings = dataclasses.replace(
            TRAINING, batch_size=batch, gradient_accumulation=count, accumulation="labels", optimizer_steps=1
        )
        call = fleet.task_call(language_adapter, settings, run=f"batches-of-{batch}")
        call = dataclasses.replace(
            call, spec=dataclasses.replace(call.spec, data=dataclasses.replace(call.spec.data, limits=(("train", 2),)))
        )
        trainer = trainer_of(call)
        assert len({len(row.labels) for number in range(2) for row in trainer._train.rows(number)}) == 2
        for _ in range(count):
            labels = sum(len(one.labels) for one in trainer.next_batch())
            loss, gradient = loss_and_gradient(call, trainer)
            trainer.learner.learn(gradient, loss, 1, labels)
        made.append(trainer.learner)
    one, two = made
    assert two.progress.train_curve[0][1] == pytest.approx(one.progress.train_curve[0][1], rel=1e-5)
    torch.testing.assert_close(two.vector, one.vector, rtol=1e-4, atol=1e-5)


def test_epochs_are_the_optimizer_steps_that_they_come_to(fleet, language_adapter):
    short = dataclasses.replace(TRAINING, evaluate_every=0, evaluation_examples=0, warmup_ratio=0.2)
    epochs = fleet.task_call(language_adapter, dataclasses.replace(short, optimizer_steps=0, epochs=2), run="epochs")
    rows = len(trainer_of(epochs)._train.lengths)
    steps = 2 * -(-rows // 8)
    result = train_task(epochs)
    assert result.details["train_rows"] == rows and result.details["optimizer_steps_asked"] == steps
    assert [step for step, _ in result.series["validation_f1"]] == [steps // 2, steps]
    assert result.details["validation_examples"] == 40 and result.details["validation_limit"] == 0
    same = dataclasses.replace(short, optimizer_steps=steps, evaluate_every=steps // 2, evaluation_examples=40)
    plain = fleet.task_call(language_adapter, same, run="plain")
    train_task(plain)
    names = ("adapter.safetensors", "model_head.safetensors")
    assert all((epochs.output / name).read_bytes() == (plain.output / name).read_bytes() for name in names)


def test_dropout_reaches_the_head(fleet, language_adapter):
    """The outputs are those of the head on what the backbone gives under its dropout, with masks of the head's own."""
    training = dataclasses.replace(TRAINING, backbone_dropout=0.3)
    trainer = trainer_of(fleet.task_call(language_adapter, training, run="dropout"))
    examples = trainer._order.dropped([one for row in range(5) for one in trainer._train.rows(row)], 0, 0.3)
    rows = collate([examples], 1, torch.device("cpu")).rows
    tensors = trainer.layout.split(trainer.learner.vector[None])
    with torch.no_grad():
        got = trainer.encoder.outputs(rows, tensors)
        own, _ = trainer.encoder._split(tensors)
        weights = bank_weights(own, activation_named("gelu_new"))
        hidden = FrozenEncoder(load_backbone(fleet.backbone, "cpu")).hidden_states(
            rows, (trainer.encoder._languages[0], weights)
        )[0]
        places = [(row, place) for row, one in enumerate(examples) for place in one.positions.tolist()]
        masked = torch.stack(
            [
                rows.dropout.positions(rows.ids.shape[1])(
                    torch.ones(len(examples), rows.ids.shape[1], hidden.shape[1]), HEAD_SITE
                )[row, place]
                for row, place in places
            ]
        )
        weight, bias = tensors["heads.*.1.weight"][0], tensors["heads.*.1.bias"][0]
        torch.testing.assert_close(got, (hidden * masked) @ weight.T + bias)
    assert masked.unique().tolist() == pytest.approx([0.0, 1 / 0.7])


def test_the_language_adapter_stays_as_it_was(trained, language_adapter):
    call, _ = trained
    assert not set(load_file(call.output / "adapter.safetensors")) & set(
        load_file(language_adapter / "adapter.safetensors")
    )


def test_a_label_that_the_task_does_not_know_is_refused(fleet, language_adapter):
    call = fleet.task_call(language_adapter, TRAINING, run="labels")
    few = dataclasses.replace(call.spec, task=dataclasses.replace(TASK, labels=("O", "B-LOC", "I-LOC")))
    with pytest.raises(InputError, match="B-PER"):
        train_task(dataclasses.replace(call, spec=few))


def test_rows_beyond_the_backbone_s_positions_are_refused(fleet, language_adapter):
    call = fleet.task_call(language_adapter, dataclasses.replace(TRAINING, max_length=65), run="long")
    with pytest.raises(InputError, match="at most 64"):
        train_task(call)
