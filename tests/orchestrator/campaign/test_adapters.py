import pytest
from pydantic import ValidationError

from jobs.spec import BottleneckConfig, Ia3Config, LokrConfig, LoraConfig, PrefixConfig
from orchestrator.campaign.adapters import LanguageAdapterSection, TaskAdapterSection

TRAINING = {"optimizer_steps": 5}


def section(**keys):
    return LanguageAdapterSection.model_validate({"training": TRAINING, **keys})


@pytest.mark.parametrize(
    ("keys", "config"),
    [
        ({}, BottleneckConfig()),
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
        ({"ia3": {"target_modules": ["k"], "feedforward_modules": ["f"]}}, "must be among target_modules: f"),
        ({"lora": {"rank": 4, "target_modules": []}}, "at least 1 item"),
    ],
)
def test_contradictions_are_refused(keys, words):
    with pytest.raises(ValidationError, match=words):
        section(**keys)
