"""Task adapters that share batches: each is what it is alone, whatever is beside it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from headed_fleet import LORA, Headed
from lone_tasks import trainer_of
from safetensors.torch import load_file
from stopped_training import Stop, stops_at
from tiny_tasks import LENGTH, TASKS, write_rows

from jobs.adapters.adapter import named
from jobs.adapters.adapterhub import write_adapter
from jobs.banks import task_bank
from jobs.banks.task_bank import TaskPasses, train_tasks
from jobs.models.madx_backbone import load_backbone
from jobs.spec import BottleneckConfig, InitialAdapterSpec, JobCall, TaskAdapterSpec, TrainingConfig
from jobs.training.initial import initial_bottleneck

TRAINING = TrainingConfig(10, 6, 5e-3, max_length=LENGTH, evaluate_every=5, evaluation_examples=12)
BOTTLENECK = BottleneckConfig(4, 0)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """An encoder, and three languages' frozen adapters; the third is wider and has no invertible part."""
    root = tmp_path_factory.mktemp("tasks")
    headed = Headed(root)
    backbone = load_backbone(headed.backbone, "cpu")
    for seed, (code, config) in enumerate(
        {"xx": BottleneckConfig(), "yy": BottleneckConfig(), "zz": BottleneckConfig(2, 0)}.items()
    ):
        base, draw = initial_bottleneck(backbone, config, code), torch.Generator().manual_seed(seed)
        tensors = {name: torch.randn(value.shape, generator=draw) * 0.3 for name, value in base.tensors.items()}
        write_adapter(named(base, code, tensors), root / code)
    return headed


def calls_of(world, run, adapter=BOTTLENECK, training=TRAINING, more=()):
    """Four kinds of tasks, two seeds of one of them, three languages below, one task on rows of two languages."""
    asked = [("classification", "xx", 1, ()), ("classification", "xx", 2, ()), ("qa", "yy", 1, ())]
    asked += [("multiple-choice", "zz", 1, ()), ("classification", "yy", 1, ("xx",))]
    calls = []
    for number, (kind, below, seed, others) in enumerate(asked):
        data = dataclasses.replace(write_rows(world.folder / "rows" / kind, kind), language=below)
        further = tuple(dataclasses.replace(data, language=code) for code in others)
        spec = TaskAdapterSpec(TASKS[kind], below, data, world.backbone, adapter, training, seed, further)
        place = world.folder / run / str(number)
        (place / "output").mkdir(parents=True)
        inputs = {f"language:{code}": world.folder / code for code in (below, *others)}
        if adapter is not BOTTLENECK:
            inputs = {"theta_pre": world.run("theta_pre", InitialAdapterSpec(world.backbone, adapter), {})[1]}
        calls.append(JobCall(f"{number}", spec, inputs, place / "output", place / "checkpoint", world.folder / "cache"))
    return calls


def tensors_of(call):
    return {
        f"{path.name}:{name}": value
        for path in sorted(call.output.glob("*.safetensors"))
        for name, value in load_file(path).items()
    }


@pytest.mark.parametrize("adapter", [BOTTLENECK, LORA], ids=["bottleneck", "lora"])
def test_each_task_is_what_it_is_alone(world, adapter, request):
    run = request.node.callspec.id
    together = calls_of(world, f"{run}-together", adapter)
    outcomes = dict(train_tasks(together))
    alone = calls_of(world, f"{run}-alone", adapter)
    for own, lone in zip(together, alone, strict=True):
        ((_, expected),) = train_tasks([lone])
        found = outcomes[own.name]
        for curve, values in expected.series.items():
            assert found.series[curve] == [(step, pytest.approx(value, rel=1e-4)) for step, value in values]
        assert {key: found.details[key] for key in ("train_rows", "validation_examples")} == {
            key: expected.details[key] for key in ("train_rows", "validation_examples")
        }
        wanted, got = tensors_of(lone), tensors_of(own)
        assert wanted.keys() == got.keys() and len(wanted) > 4
        for name, value in wanted.items():
            # Added to every place that a softmax is over, the last bias of these has no gradient but rounding's.
            if (own.spec.task.kind, *value.shape) not in (("qa", 2), ("multiple-choice", 1)):
                torch.testing.assert_close(got[name], value, rtol=1e-3, atol=2e-5)


def test_losses_and_gradients_of_one_pass_are_those_of_each_alone(world, monkeypatch):
    calls = calls_of(world, "gradients")
    passes = TaskPasses(world.backbone, BOTTLENECK)
    trainers = [passes.start(call) for call in calls]
    groups = [trainer.next_batch() for trainer in trainers]
    sizes = []
    whole = task_bank.collate
    monkeypatch.setattr(task_bank, "collate", lambda groups, *rest: sizes.append(len(groups)) or whole(groups, *rest))
    losses, gradients = passes.losses(trainers, groups)
    # xx, xx, yy, and the two lanes of the one on two languages; zz below the fourth is of another shape.
    assert sorted(sizes) == [1, 5]
    for trainer, group, loss, gradient in zip(trainers, groups, losses.tolist(), gradients, strict=True):
        (lone,), (expected,) = passes.losses([trainer], [group])
        assert loss == pytest.approx(lone.item(), rel=1e-5)
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-6)
        assert expected.abs().max() > 1e-4


def test_a_small_bound_makes_several_passes_of_the_same_gradients(world, monkeypatch):
    calls = calls_of(world, "bounded")
    passes = TaskPasses(world.backbone, BOTTLENECK)
    trainers = [passes.start(call) for call in calls]
    groups = [trainer.next_batch() for trainer in trainers]
    _, expected = passes.losses(trainers, groups)
    monkeypatch.setitem(task_bank.TOKENS, "cpu", 1)
    _, found = passes.losses(trainers, groups)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_a_task_whose_data_is_broken_ends_alone(world):
    good, bad, *_ = calls_of(world, "broken")
    labels = dataclasses.replace(bad.spec.task, labels=("none", "of", "these"))
    outcomes = dict(train_tasks([good, dataclasses.replace(bad, spec=dataclasses.replace(bad.spec, task=labels))]))
    assert "label" in str(outcomes[bad.name]) and isinstance(outcomes[bad.name], Exception)
    assert outcomes[good.name].metrics["optimizer_steps"] == 10
    assert (good.output / "adapter.safetensors").is_file() and not list(bad.output.iterdir())


def test_a_stopped_bank_goes_on_bit_for_bit(world, monkeypatch):
    stop = stops_at(monkeypatch, 7, "2")
    stopped, whole = calls_of(world, "stopped"), calls_of(world, "whole")
    with pytest.raises(Stop):
        dict(train_tasks(stopped, stop))
    outcomes = dict(train_tasks(stopped))
    dict(train_tasks(whole))
    assert {outcomes[call.name].details["resumed_from_step"] for call in stopped} == {7}
    for one, other in zip(stopped, whole, strict=True):
        wanted = tensors_of(other)
        assert all(torch.equal(value, wanted[name]) for name, value in tensors_of(one).items())


def test_at_most_as_many_as_asked_are_in_memory(world, monkeypatch):
    """With room for two, the others enter as tasks leave; what was trained is on the disk, and read again as it was."""
    calls = calls_of(world, "two")
    seen = []
    losses = TaskPasses.losses
    monkeypatch.setattr(
        TaskPasses,
        "losses",
        lambda self, trainers, groups: seen.append(len(trainers)) or losses(self, trainers, groups),
    )
    outcomes = dict(train_tasks(calls, capacity=2))
    assert set(outcomes) == {call.name for call in calls} and max(seen) == 2
    again = trainer_of(calls[0])
    assert again.learner.done and again.learner.progress.best_value == max(
        value for _, value in outcomes["0"].series["validation_accuracy"]
    )
