"""Task adapters with a head that learn from several languages at once."""

from __future__ import annotations

from dataclasses import replace

import adapters
import pytest
import torch
from headed_fleet import LORA, Headed
from lone_tasks import loss_and_gradient, train_task, trainer_of
from tiny_backbone import adapter_model
from tiny_tasks import CHOICES, INFERENCE, LENGTH, QUESTIONS, write_rows

from jobs.adapters.adapter import named
from jobs.adapters.adapterhub import write_adapter
from jobs.models.madx_backbone import load_backbone
from jobs.spec import BottleneckConfig, InitialAdapterSpec, JobCall, TaskAdapterSpec, TrainingConfig
from jobs.tasks.table import task_of
from jobs.tokens.batches import collate
from jobs.training.initial import initial_bottleneck

TRAINING = TrainingConfig(
    0, 8, 2e-2, max_length=LENGTH, evaluate_every=0, evaluation_examples=0, epochs=2, backbone_dropout=0.0
)
TASKS = [INFERENCE, QUESTIONS, CHOICES]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """An encoder, two languages' frozen adapters, and rows of both languages."""
    root = tmp_path_factory.mktemp("several")
    headed = Headed(root)
    backbone = load_backbone(headed.backbone, "cpu")
    languages = {}
    for seed, code in enumerate(("xx", "yy")):
        base, draw = initial_bottleneck(backbone, BottleneckConfig(), code), torch.Generator().manual_seed(seed)
        tensors = {name: torch.randn(value.shape, generator=draw) * 0.3 for name, value in base.tensors.items()}
        write_adapter(named(base, code, tensors), root / code)
        languages[f"language:{code}"] = root / code
    return headed, languages


def data_of(headed, kind):
    """The kind's rows in two languages, the second with fewer rows of its own."""
    first = headed.data[kind]
    second = write_rows(headed.folder / f"more-{kind}", kind, (("train", 40), ("validation", 20)), seed=7)
    return first, replace(second, language="yy")


def call_of(headed, task, adapter, inputs, name, training=TRAINING):
    first, second = data_of(headed, task.kind)
    spec = TaskAdapterSpec(task, "multilingual", first, headed.backbone, adapter, training, 1, (second,))
    output = headed.folder / "outputs" / name
    output.mkdir(parents=True, exist_ok=True)
    return JobCall(name, spec, inputs, output, headed.folder / "checkpoints" / name, headed.folder / "cache")


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_each_row_has_its_own_language_s_adapter_below_it(world, task):
    """The loss and the head's gradient are those of plain `adapters`, one language after the other."""
    headed, languages = world
    call = call_of(headed, task, BottleneckConfig(4, 0), languages, f"stack-{task.kind}")
    trainer = trainer_of(call)
    border = int(trainer._ends[0])
    place = next(n for n in range(99) if min(trainer._order[n]) < border <= max(trainer._order[n]))
    numbers = trainer._order[place].tolist()  # of both languages
    trainer.learner.progress.batches = place
    loss, gradient = loss_and_gradient(call, trainer)

    write_adapter(trainer.encoder.trained(trainer.layout.tensors(trainer.learner.vector)), headed.folder / "task")
    total, labels, sums = 0.0, 0, {}
    for code in ("xx", "yy"):
        model = adapter_model(headed.backbone)
        model.load_adapter(str(headed.folder / code))
        name = model.load_adapter(str(headed.folder / "task"))
        model.set_active_adapters(adapters.composition.Stack(code, name))
        model.train_adapter(adapters.composition.Stack(code, name))
        model.eval()
        mine = [row for row in numbers if (row < border) == (code == "xx")]
        batch = collate([[one for row in mine for one in trainer._train.rows(row)]], 1, torch.device("cpu"))
        keep = None if batch.rows.keep is None else batch.rows.keep.long()
        with adapters.AdapterSetup(adapters.composition.Stack(code, name)):
            hidden = model.base_model(batch.rows.ids, attention_mask=keep).last_hidden_state
        head = torch.nn.Sequential(*model.heads[name].children())
        outputs = head(hidden.reshape(-1, hidden.shape[-1])[batch.rows.positions[0]])
        own = task_of(task).loss(outputs, batch) * len(batch.labels)
        own.backward()
        total, labels = total + own.item(), labels + len(batch.labels)
        for parameter_name, parameter in model.heads[name].named_parameters():
            sums[parameter_name] = sums.get(parameter_name, 0) + parameter.grad
    assert loss == pytest.approx(total / labels, rel=1e-4)
    split = {name: value[0] for name, value in trainer.layout.split(gradient[None]).items()}
    for parameter_name, value in sums.items():
        torch.testing.assert_close(split[f"heads.*.{parameter_name}"], value / labels, rtol=1e-3, atol=1e-6)


def test_a_stack_learns_from_both_and_is_chosen_on_both(world):
    headed, languages = world
    result = train_task(call := call_of(headed, INFERENCE, BottleneckConfig(4, 0), languages, "learned"))
    assert result.details["language_adapter"] == "xx, yy"
    assert result.details["validation_examples"] == sum(
        len(trainer_of(call)._held_out[place].gold) for place in range(2)
    )
    assert result.details["train_examples"] == result.details["train_rows"]
    assert result.metrics["validation_accuracy"] > 40


def test_lora_learns_from_both_without_a_switch(world):
    headed, _ = world
    _, theta_pre = headed.run("theta_pre", InitialAdapterSpec(headed.backbone, LORA), {})
    call = call_of(headed, INFERENCE, LORA, {"theta_pre": theta_pre}, "lora")
    result = train_task(call)
    alone = replace(call, spec=replace(call.spec, more_data=()))
    assert result.details["train_rows"] > trainer_of(alone)._details["train_rows"]
    assert result.metrics["validation_accuracy"] > 40
    assert (call.output / "adapter_model.safetensors").is_file()


def test_the_metric_over_several_languages_is_that_of_all_their_examples(world):
    headed, languages = world
    call = call_of(headed, INFERENCE, BottleneckConfig(4, 0), languages, "metric")
    trainer = trainer_of(call)
    together = trainer.held_out_value()
    right = count = 0.0
    for place in range(2):
        trainer_of_one = trainer_of(call)
        trainer_of_one._held_out = [trainer._held_out[place]]
        trainer_of_one.encoder.group = lambda source, place=place: place
        examples = len(trainer._held_out[place].gold)
        right, count = right + trainer_of_one.held_out_value() * examples, count + examples
    assert together == pytest.approx(right / count)
