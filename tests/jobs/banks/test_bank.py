from __future__ import annotations

import dataclasses
import math
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from stacks import stack_of
from stopped_training import Stop, stops_at
from tiny_backbone import adapter_model
from tiny_fleet import TRAINING, Fleet, write_corpus
from transformers import get_scheduler

from jobs.banks import forward_pass
from jobs.banks.adapter_backends import AdapterBackends
from jobs.banks.bank import train_languages
from jobs.errors import InputError
from jobs.evaluation.madx_evaluator import WarmEvaluator
from jobs.spec import TaskRef, TrainingConfig
from jobs.tokens.evaluation_sets import EvaluationSet
from jobs.training import checkpoint
from jobs.training.checkpoint import saved
from jobs.training.data_parallel import DataParallel
from jobs.training.learner import Learner
from jobs.training.progress import DivergedError, schedule
from tests.forks import ended, forked


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    return Fleet(tmp_path_factory.mktemp("fleet"))


def _train(calls, **options):
    return dict(train_languages(calls, **options))


def _weights(call):
    return load_file(call.output / "adapter.safetensors")


def _largest_difference(first, second):
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def _change(**values):
    return dataclasses.replace(TRAINING, **values)


def test_a_language_learns_and_reports(fleet):
    call = fleet.call("aa", _change(optimizer_steps=120, learning_rate=5e-3))
    result = _train([call])["aa"]
    curve = result.series["validation_loss"]
    assert [step for step, _ in curve] == [20, 40, 60, 80, 100, 120]
    assert result.metrics["validation_loss"] == min(value for _, value in curve) < curve[0][1]
    assert result.metrics["tokens"] > 0
    assert result.details["corpus_blocks"] > 0
    assert saved(call.checkpoint)[0].finished


def test_epochs_of_a_corpus_count_its_blocks(fleet):
    call = fleet.call("ad", _change(optimizer_steps=0, epochs=2, evaluate_every=0, evaluation_examples=0))
    result = _train([call])["ad"]
    steps = -(-result.details["corpus_blocks"] // 4)
    assert result.metrics["optimizer_steps"] == result.details["optimizer_steps_asked"] == 2 * steps
    assert [step for step, _ in result.series["validation_loss"]] == [steps, 2 * steps]
    limited = _train([fleet.call("ad", _change(optimizer_steps=2, evaluation_examples=3), run="limited")])["ad"]
    assert (limited.details["validation_examples"], limited.details["validation_limit"]) == (3, 3)
    assert result.details["validation_examples"] > 3 and result.details["validation_limit"] == 0


def test_plain_adapters_loads_the_result_under_the_language_s_name(fleet):
    call = fleet.call("ab", _change(optimizer_steps=5))
    _train([call])
    model = adapter_model(fleet.backbone)
    assert model.load_adapter(str(call.output)) == "ab"
    parameters = dict(model.named_parameters())
    for name, tensor in _weights(call).items():
        assert torch.equal(parameters[name], tensor)


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_an_adapter_does_not_depend_on_the_size_of_its_bank_nor_on_how_many_pass_at_a_time(fleet, monkeypatch, rate):
    languages = ["ba", "bb", "bc", "bd", "be", "bf", "bg", "bh"]
    training = _change(backbone_dropout=rate, optimizer_steps=20, evaluate_every=10)
    in_one, in_three_parts = 8 * 4 * 16, 3 * 4 * 16
    found = []
    for size, tokens in ((1, in_one), (3, in_one), (8, in_one), (8, in_three_parts)):
        monkeypatch.setattr(forward_pass, "TOKENS", tokens)
        calls = [fleet.call(language, training, run=f"bank-{size}-{tokens}-{rate}") for language in languages[:size]]
        assert not [one for one in _train(calls).values() if isinstance(one, Exception)]
        found.append(_weights(calls[0]))
    start = load_file(fleet.theta_pre / "adapter.safetensors")
    moved = max(float((start[n] - found[0][n.replace("theta_pre", "ba")]).abs().max()) for n in start)
    assert moved > 1e-3
    assert all(_largest_difference(found[0], other) < 1e-5 for other in found[1:])


def test_the_parts_of_a_bank_are_of_like_size_and_follow_the_worker_s_share_of_the_rows(fleet, monkeypatch):
    call = fleet.call("pa")
    languages = [AdapterBackends(fleet.backbone).forward(call.spec.adapter, call.inputs["theta_pre"]).start(call)] * 8

    def sizes(device, workers):
        found = forward_pass.parts(languages, torch.device(device), DataParallel(0, workers))
        assert [place for part in found for place in range(8)[part]] == list(range(8))
        return [part.stop - part.start for part in found]

    monkeypatch.setattr(forward_pass, "TOKENS", 3 * 4 * 16)
    assert sizes("cpu", 1) == [2, 3, 3] and sizes("cpu", 2) == [4, 4] and sizes("cpu", 4) == [8]
    assert sizes("cuda", 1) == [8]
    monkeypatch.setattr(forward_pass, "TOKENS", 1)
    assert sizes("cpu", 1) == [1] * 8


def test_dropout_of_the_backbone_changes_what_is_learnt_and_not_what_is_measured(fleet):
    losses = {}
    for rate in (0.0, 0.1):
        call = fleet.call("bi", _change(backbone_dropout=rate), run=f"dropout-{rate}")
        result = _train([call])["bi"]
        assert result.details["backbone_dropout"] == rate
        losses[rate] = [value for _, value in result.series["validation_loss"]]
    assert losses[0.1] != losses[0.0]
    assert losses[0.1] == pytest.approx(losses[0.0], rel=0.1)


def test_the_same_call_gives_the_same_bytes(fleet):
    first, second = (fleet.call("ca", run=run) for run in ("first", "second"))
    _train([first])
    _train([second])
    for name in ("adapter.safetensors", "pytorch_adapter.bin", "adapter_config.json"):
        assert (first.output / name).read_bytes() == (second.output / name).read_bytes()


def test_the_reported_loss_is_the_one_that_evaluation_gives(fleet):
    call = fleet.call("cc")
    result = _train([call])["cc"]
    data = dataclasses.replace(call.spec.corpus, limits=())
    evaluation = EvaluationSet(TaskRef("mlm", "masked-lm"), data, "validation", TRAINING.max_length)
    score = WarmEvaluator(fleet.backbone, call.cache, "cpu").evaluate(evaluation, stack_of(((call.output, 1.0),)))
    assert result.metrics["validation_loss"] == pytest.approx(score.value, abs=1e-5)


def test_a_corpus_shorter_than_one_sequence_is_refused(fleet):
    corpus = write_corpus(fleet.root / "short", "cd", sentences=1)
    outcome = _train([fleet.call("cd", _change(max_length=64), corpus=corpus)])["cd"]
    assert isinstance(outcome, InputError) and "shorter than one sequence" in str(outcome)


def test_a_corpus_of_unknown_tokens_is_trained_and_warned_of(fleet):
    corpus = write_corpus(fleet.root / "unknown", "ce")
    path = Path(dict(corpus.files)["train"])
    path.write_text(path.read_text().replace("w1", "zz"))
    result = _train([fleet.call("ce", _change(optimizer_steps=2), corpus=corpus)])["ce"]
    assert result.details["unknown_share"] > 0.1 and "does not know" in result.details["warning"]


def test_seeds_change_the_result_and_all_start_from_theta_pre(fleet):
    first, second = (fleet.call("cb", run=f"seed-{seed}", seed=seed) for seed in (1, 2))
    _train([first])
    _train([second])
    assert _largest_difference(_weights(first), _weights(second)) > 1e-4


def test_languages_leave_when_done_and_others_enter(fleet):
    lengths = {"da": 10, "db": 30, "dc": 20, "dd": 5}
    calls = [fleet.call(language, _change(optimizer_steps=steps)) for language, steps in lengths.items()]
    outcomes = list(train_languages(calls, capacity=2))
    assert [name for name, _ in outcomes] == ["da", "db", "dc", "dd"] or {n for n, _ in outcomes} == set(lengths)
    assert {name: int(one.metrics["optimizer_steps"]) for name, one in outcomes} == lengths
    assert outcomes[0][0] == "da"
    alone = fleet.call("dc", _change(optimizer_steps=20), run="alone")
    _train([alone])
    assert _largest_difference(_weights(calls[2]), _weights(alone)) < 1e-5


def test_a_broken_corpus_and_a_divergence_end_their_language_alone(fleet):
    broken = dataclasses.replace(write_corpus(fleet.root / "corpora", "ea"), files=(("train", "/no/such/file"),))
    calls = [
        fleet.call("ea", corpus=broken),
        fleet.call("eb", _change(learning_rate=1e30, max_grad_norm=0.0)),
        fleet.call("ec"),
    ]
    outcomes = _train(calls)
    assert isinstance(outcomes["ea"], Exception)
    assert isinstance(outcomes["eb"], DivergedError)
    alone = fleet.call("ec", run="alone")
    _train([alone])
    assert _largest_difference(_weights(calls[2]), _weights(alone)) < 1e-5


def test_early_stopping_ends_a_language_after_its_patience(fleet):
    training = _change(optimizer_steps=400, learning_rate=0.3, evaluate_every=5, patience=2)
    result = _train([fleet.call("fa", training)])["fa"]
    assert result.metrics["optimizer_steps"] == result.metrics["best_optimizer_step"] + 10 < 400


def test_accumulated_batches_make_one_step(fleet):
    result = _train([fleet.call("fb", _change(optimizer_steps=6, gradient_accumulation=3))])["fb"]
    assert result.metrics["optimizer_steps"] == 6
    single = _train([fleet.call("fb", _change(optimizer_steps=18), run="single")])["fb"]
    assert result.metrics["tokens"] == single.metrics["tokens"]


def test_a_budget_of_tokens_shortens_the_corpus(fleet):
    call = fleet.call("fc", _change(max_tokens=40))
    forward = AdapterBackends(fleet.backbone).forward(call.spec.adapter, call.inputs["theta_pre"])
    order = forward.start(call).stream.order
    rows = {int(row) for number in range(50) for row in order[number]}
    assert rows == {0, 1, 2}


def test_rows_beyond_the_backbone_s_positions_are_refused(fleet):
    outcome = _train([fleet.call("fd", _change(max_length=65))])["fd"]
    assert isinstance(outcome, InputError) and "at most 64" in str(outcome)


def test_a_stopped_training_goes_on_bit_for_bit(fleet, monkeypatch):
    training = _change(gradient_accumulation=2, optimizer_steps=30)

    stop = stops_at(monkeypatch, 23)
    languages = ["ga", "gb", "gc"]
    undisturbed = [fleet.call(language, training, run="undisturbed") for language in languages]
    _train(undisturbed)
    stopped = [fleet.call(language, training, run="stopped") for language in languages]
    with pytest.raises(Stop):
        _train(stopped, progress=stop)
    results = _train(stopped)
    assert all(one.details["resumed_from_step"] >= 22 for one in results.values())
    for first, second in zip(undisturbed, stopped, strict=True):
        assert (first.output / "adapter.safetensors").read_bytes() == (
            second.output / "adapter.safetensors"
        ).read_bytes()
        assert [step for step, _ in results[second.name].series["validation_loss"]] == [20, 30]


def _train_with_a_checkpoint_after_every_batch(calls):
    checkpoint.SECONDS = 0.0
    checkpoint.SHARE = 1e9
    assert not [one for one in _train(calls).values() if isinstance(one, Exception)]


def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(fleet):
    training = _change(optimizer_steps=120, evaluate_every=50)
    languages = ["ha", "hb"]
    undisturbed = [fleet.call(language, training, run="whole") for language in languages]
    _train(undisturbed)
    killed = [fleet.call(language, training, run="killed") for language in languages]
    child = forked(_train_with_a_checkpoint_after_every_batch, killed)
    while not any(one.time >= 20 for one in saved(killed[1].checkpoint)):
        assert child.is_alive()
        time.sleep(0.01)
    child.kill()
    assert ended(child) == -signal.SIGKILL
    assert not (killed[0].output / "adapter.safetensors").exists()
    results = _train(killed)
    assert 0 < results["ha"].details["resumed_from_step"] < 120
    for first, second in zip(undisturbed, killed, strict=True):
        assert (first.output / "adapter.safetensors").read_bytes() == (
            second.output / "adapter.safetensors"
        ).read_bytes()


def test_a_corrupt_checkpoint_is_said_and_training_starts_anew(fleet):
    call, fresh = fleet.call("ia", run="corrupt"), fleet.call("ia", run="fresh")
    call.checkpoint.mkdir(parents=True)
    (call.checkpoint / "training-0000000007.safetensors").write_bytes(b"not a checkpoint")
    result = _train([call])["ia"]
    assert "training-0000000007" in result.details["checkpoints_not_used"][0]
    _train([fresh])
    assert _largest_difference(_weights(call), _weights(fresh)) == 0.0


def test_a_checkpoint_of_another_training_is_said_and_not_used(fleet):
    first = fleet.call("ib", _change(optimizer_steps=10))
    _train([first])
    other = dataclasses.replace(fleet.call("ib", run="other"), checkpoint=first.checkpoint)
    result = _train([other])["ib"]
    assert "another training" in result.details["checkpoints_not_used"][0]
    assert result.metrics["optimizer_steps"] == 50


def test_the_schedule_is_linear_up_and_linear_down():
    training = TrainingConfig(optimizer_steps=10, batch_size=1, warmup_ratio=0.2)
    assert [round(schedule(step, training), 3) for step in range(10)] == [
        0.0, 0.5, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125,
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant_with_warmup"])
def test_schedules_are_those_of_transformers(kind):
    training = TrainingConfig(optimizer_steps=12, batch_size=1, warmup_ratio=0.25, lr_scheduler_type=kind)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    reference = get_scheduler(kind, optimizer, num_warmup_steps=3, num_training_steps=12)
    for step in range(12):
        assert schedule(step, training) == pytest.approx(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()


@pytest.mark.parametrize(("batches", "norm"), [(1, 0.5), (1, 100.0), (1, 0.0), (2, 0.5)])
def test_a_learner_takes_the_steps_of_plain_adamw(batches, norm):
    training = TrainingConfig(8, 1, 0.1, weight_decay=0.2, max_grad_norm=norm, gradient_accumulation=batches)
    start = torch.linspace(-1, 1, 6)
    learner = Learner(start.clone(), 4, training, "min")
    matrix, bias = start[:4].clone().requires_grad_(), start[4:].clone().requires_grad_()
    reference = torch.optim.AdamW(
        [{"params": [matrix]}, {"params": [bias], "weight_decay": 0.0}], 0.1, weight_decay=0.2
    )
    decay = torch.optim.lr_scheduler.LambdaLR(reference, lambda step: schedule(step, training))
    for step in range(8):
        gradient = torch.sin(torch.arange(6.0) + step)
        for part in range(batches):
            learner.learn(gradient * (2 * part if batches == 2 else 1), 1.0, 1, 1)
        matrix.grad, bias.grad = gradient[:4].clone(), gradient[4:].clone()
        torch.nn.utils.clip_grad_norm_([matrix, bias], norm or math.inf)
        reference.step()
        decay.step()
    torch.testing.assert_close(learner.vector, torch.cat([matrix, bias]).detach())
    assert learner.progress.optimizer_steps == 8


def test_accumulated_batches_weigh_by_their_labels_as_one_batch_of_all_does():
    start, gradients = torch.linspace(-1, 1, 6), (torch.sin(torch.arange(6.0)), torch.cos(torch.arange(6.0)))
    parts = Learner(start.clone(), 6, TrainingConfig(1, 1, 0.1, 2, accumulation="labels"), "min")
    parts.learn(gradients[0], 1.0, 5, 3)
    stopped = Learner(start.clone(), 6, parts.training, "min")
    stopped.restore(*parts.state())  # between two batches of a step
    whole = Learner(start.clone(), 6, TrainingConfig(1, 2, 0.1), "min")
    whole.learn(0.3 * gradients[0] + 0.7 * gradients[1], 0.3 * 1.0 + 0.7 * 2.0, 12, 10)
    for learner in (parts, stopped):
        learner.learn(gradients[1], 2.0, 7, 7)
        torch.testing.assert_close(learner.vector, whole.vector)
        assert learner.progress.train_curve == [(1, pytest.approx(1.7))]
        assert learner.progress.tokens == 12


def test_a_checkpoint_inside_a_step_that_does_not_say_its_weights_is_not_gone_on_from():
    learner = Learner(torch.zeros(2), 2, TrainingConfig(1, 1, gradient_accumulation=2, accumulation="labels"), "min")
    learner.learn(torch.ones(2), 1.0, 5, 3)
    tensors, progress = learner.state()
    with pytest.raises(ValueError, match="what the batches of the step"):
        learner.restore(tensors, {name: value for name, value in progress.items() if name != "parts"})
