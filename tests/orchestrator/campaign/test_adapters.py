import pytest
from pydantic import ValidationError

from jobs.spec import BottleneckConfig, Ia3Config, LokrConfig, LoraConfig, PrefixConfig, TrainingConfig
from orchestrator.campaign.adapters import (
    LanguageAdapterSection,
    TaskAdapterSection,
    TaskTrainingSection,
    TrainingFields,
    TrainingSection,
)

TRAINING = {"optimizer_steps": 5}


def section(**keys):
    return LanguageAdapterSection.model_validate({"training": TRAINING, **keys})


@pytest.mark.parametrize(
    ("keys", "config"),
    [
        ({}, BottleneckConfig()),
        ({"leave_out": "last"}, BottleneckConfig(leave_out=(-1,))),
        ({"leave_out": [11, 0, 11]}, BottleneckConfig(leave_out=(0, 11))),
        ({"lora": {"rank": 4, "target_modules": ["q"]}}, LoraConfig(4, 4.0, ("q",))),
        ({"lora": {"rank": 4, "alpha": 8, "target_modules": ["q"]}, "init_seed": 7}, LoraConfig(4, 8.0, ("q",), 7)),
        ({"ia3": {"target_modules": ["k", "f"], "feedforward_modules": ["f"]}}, Ia3Config(("k", "f"), ("f",))),
        ({"kronecker": {"factor": 32, "target_modules": ["q"]}}, LokrConfig(32, ("q",))),
        ({"prefix": {"length": 5}}, PrefixConfig(5)),
    ],
)
def test_a_section_says_which_adapter_is_made(keys, config):
    assert section(**keys).config == config


def test_task_adapters_have_the_shape_of_what_they_are_merged_with():
    task = TaskAdapterSection.model_validate({"training": TRAINING})
    lora = section(lora={"rank": 4, "target_modules": ["q"]})
    assert task.config(lora) == lora.config and not lora.stacked
    assert task.config(section()) == BottleneckConfig(16, 0) and section().stacked


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (
            {"lora": {"rank": 4, "target_modules": ["q"]}, "prefix": {"length": 5}},
            "one kind of adapter, not lora and prefix",
        ),
        ({"prefix": {"length": 5}, "reduction_factor": 4}, "reduction_factor belong to bottleneck adapters"),
        (
            {"lora": {"rank": 4, "target_modules": ["q"]}, "leave_out": "last"},
            "leave_out belong to bottleneck adapters",
        ),
        ({"leave_out": [-1]}, "greater than or equal to 0"),
        ({"ia3": {"target_modules": ["k"], "feedforward_modules": ["f"]}}, "must be among target_modules: f"),
        ({"lora": {"rank": 4, "target_modules": []}}, "at least 1 item"),
    ],
)
def test_contradictions_are_refused(keys, words):
    with pytest.raises(ValidationError, match=words):
        section(**keys)


def test_a_length_is_optimizer_steps_or_epochs():
    assert TrainingSection.model_validate({"epochs": 3}).config == TrainingConfig(0, 16, epochs=3)
    every = {"epochs": 3, "evaluate_every": "epoch", "batching": "shuffled"}
    assert TrainingSection.model_validate(every).config == TrainingConfig(
        0, 16, epochs=3, evaluate_every=0, batching="shuffled"
    )
    several = TrainingSection.model_validate({"epochs": 3, "gradient_accumulation": 4}).config
    assert several == TrainingConfig(0, 16, epochs=3, gradient_accumulation=4, accumulation="labels")
    with pytest.raises(ValidationError, match="not both"):
        TrainingSection.model_validate({"epochs": 3, "optimizer_steps": 5})
    with pytest.raises(ValidationError, match="a length is missing"):
        TrainingSection.model_validate({"batch_size": 3})


def test_checkpoints_of_tasks_are_chosen_on_all_validation_data_and_those_of_languages_on_a_thousand_rows():
    assert section().training.config.evaluation_examples == 1000
    assert TaskTrainingSection.model_validate(TRAINING).config_for(None).evaluation_examples == 0
    limited = TaskTrainingSection.model_validate({**TRAINING, "evaluation_examples": 200})
    assert limited.config_for(None).evaluation_examples == 200


@pytest.mark.parametrize(
    ("own", "config"),
    [
        ({}, TrainingConfig(70, 4, 2e-4, evaluation_examples=0)),
        ({"epochs": 3}, TrainingConfig(0, 4, 2e-4, evaluation_examples=0, epochs=3)),
        ({"learning_rate": 1.0, "batch_size": 16}, TrainingConfig(70, 16, 1.0, evaluation_examples=0)),
        ({"evaluation_examples": 1000, "batch_size": 16}, TrainingConfig(70, 16, 2e-4, evaluation_examples=1000)),
        (
            {"optimizer_steps": 9, "evaluate_every": "epoch"},
            TrainingConfig(9, 4, 2e-4, evaluate_every=0, evaluation_examples=0),
        ),
    ],
)
def test_a_task_s_own_training_stands_in_place_field_by_field(own, config):
    common = TaskTrainingSection.model_validate({"optimizer_steps": 70, "batch_size": 4, "learning_rate": 2e-4})
    assert common.config_for(TrainingFields.model_validate(own)) == config
