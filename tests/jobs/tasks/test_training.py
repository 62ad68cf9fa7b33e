"""Every task with a head through the common loop: learned, kept, resumed, and loaded by the plain library."""

from __future__ import annotations

import dataclasses

import pytest
from lone_tasks import train_task
from stacks import stack_of
from stopped_training import Stop, stops_at
from tiny_fleet import Fleet
from tiny_tasks import LENGTH, TASKS, write_rows

from jobs.banks.bank import train_languages
from jobs.errors import InputError
from jobs.evaluation.madx_evaluator import WarmEvaluator
from jobs.spec import BottleneckConfig, JobCall, TaskAdapterSpec, TrainingConfig, metric_of
from jobs.tokens.evaluation_sets import EvaluationSet

TRAINING = TrainingConfig(
    optimizer_steps=120,
    batch_size=8,
    learning_rate=2e-2,
    max_length=LENGTH,
    evaluate_every=40,
    evaluation_examples=30,
    gradient_accumulation=1,
)
# What guessing reaches, in points.
CHANCE = {"classification": 50, "qa": 10, "multiple-choice": 65}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    return Fleet(tmp_path_factory.mktemp("fleet"))


@pytest.fixture(scope="module")
def language_adapter(fleet):
    call = fleet.call("xx", dataclasses.replace(fleet.call("xx").spec.training, optimizer_steps=5))
    dict(train_languages([call]))
    return call.output


def task_call(fleet, language_adapter, kind, run, training=TRAINING, **changes):
    data = write_rows(fleet.root / "rows", kind)
    spec = TaskAdapterSpec(TASKS[kind], "xx", data, fleet.backbone, BottleneckConfig(4, 0), training, 1)
    place = fleet.root / run / kind
    (place / "output").mkdir(parents=True)
    spec = dataclasses.replace(spec, **changes)
    inputs = {"language:xx": language_adapter}
    return JobCall(kind, spec, inputs, place / "output", place / "checkpoint", fleet.root / "cache")


@pytest.fixture(scope="module", params=list(TASKS))
def trained(request, fleet, language_adapter):
    call = task_call(fleet, language_adapter, request.param, "run")
    return call, train_task(call)


def test_a_task_is_learned_and_its_metric_chooses_the_weights(trained):
    call, result = trained
    task = call.spec.task
    name = f"validation_{metric_of(task)[0]}"
    curve = dict(result.series[name])
    assert list(curve) == [40, 80, 120]
    assert result.metrics[name] == max(curve.values()) > CHANCE[task.kind]
    assert result.details["train_examples"] == 240


def test_the_evaluator_scores_the_saved_directory_as_training_did(fleet, trained, language_adapter):
    call, result = trained
    task = call.spec.task
    evaluator = WarmEvaluator(fleet.backbone, call.cache, "cpu")
    data = dataclasses.replace(call.spec.data, limits=(("validation", 30),))
    stack = stack_of(((language_adapter, 1.0),), call.output)
    score = evaluator.evaluate(EvaluationSet(task, data, "validation", LENGTH), stack)
    assert score.value == pytest.approx(result.metrics[f"validation_{metric_of(task)[0]}"])
    assert score.statistics.shape[0] == 30


def test_a_stopped_training_goes_on_bit_for_bit(fleet, trained, language_adapter, monkeypatch):
    stop = stops_at(monkeypatch, 70)
    call = task_call(fleet, language_adapter, trained[0].name, "stopped")
    with pytest.raises(Stop):
        train_task(call, stop)
    result = train_task(call)
    assert result.details["resumed_from_step"] == 70
    for path in sorted(trained[0].output.iterdir()):
        assert (call.output / path.name).read_bytes() == path.read_bytes(), path.name


def test_rows_that_a_head_cannot_be_trained_on_are_refused(fleet, language_adapter):
    generation = dataclasses.replace(TASKS["qa"], kind="generation")
    call = task_call(fleet, language_adapter, "qa", "generation")
    with pytest.raises(InputError, match="needs a language model that writes"):
        train_task(dataclasses.replace(call, spec=dataclasses.replace(call.spec, task=generation)))


def test_data_of_several_languages_are_not_ignored(fleet, language_adapter):
    call = task_call(fleet, language_adapter, "qa", "several")
    short = dataclasses.replace(TRAINING, optimizer_steps=1)
    several = dataclasses.replace(call.spec, more_data=(call.spec.data,), training=short)
    alone = train_task(dataclasses.replace(call, spec=dataclasses.replace(several, more_data=())))
    both = train_task(dataclasses.replace(call, spec=several))
    assert both.details["train_examples"] == 2 * alone.details["train_examples"]
    assert both.details["validation_examples"] == alone.details["validation_examples"] == 30  # shared between the two


def test_a_head_of_another_task_is_refused(fleet, trained, language_adapter):
    call = trained[0]
    other = next(task for kind, task in TASKS.items() if kind != call.name)
    evaluator = WarmEvaluator(fleet.backbone, call.cache, "cpu")
    data = write_rows(fleet.root / "rows", other.kind)
    with pytest.raises(InputError, match="the head is of another type"):
        evaluator.evaluate(
            EvaluationSet(other, data, "test", LENGTH), stack_of(((language_adapter, 1.0),), call.output)
        )
