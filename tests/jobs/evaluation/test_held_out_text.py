"""Held-out text scored with PEFT adapters: the loss that training reports, block by block, and mixtures of adapters."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from injected_fleet import LORA, TRAINING, InjectedFleet
from stacks import stack_of
from tiny_models import VOCABULARY

from jobs.banks.bank import train_languages
from jobs.errors import InputError
from jobs.evaluation.adapter_losses import adapter_losses
from jobs.evaluation.language_evaluator import LanguageEvaluator
from jobs.scoring.metrics import LOSS_COLUMNS
from jobs.spec import EvaluationSpec, JobCall, LoraConfig, TaskRef, no_progress
from jobs.tokens.evaluation_sets import EvaluationSet
from jobs.worker import Worker

EVERYTHING = dataclasses.replace(TRAINING, optimizer_steps=10, learning_rate=3e-2, evaluation_examples=1000)
CASES = {
    "llama": (LORA, ("causal-lm", "prefix-lm")),
    "mt5": (LoraConfig(2, 4.0, ("q", "v")), ("prefix-lm",)),
    "xlm-roberta": (LoraConfig(2, 4.0, ("query", "value")), ("masked-lm",)),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(fleet, call, result) of one adapter for each model and objective."""
    found = {}
    for name, (adapter, objectives) in CASES.items():
        fleet = InjectedFleet(tmp_path_factory.mktemp(name), name)
        for objective in objectives:
            call = fleet.call("aa", adapter, objective, objective, EVERYTHING)
            found[name, objective] = (fleet, call, dict(train_languages([call]))["aa"])
    return found


def _evaluation(call):
    objective = call.spec.objective
    return EvaluationSet(TaskRef("text", objective), call.spec.corpus, "validation", TRAINING.max_length)


@pytest.mark.parametrize(("name", "objective"), [(n, o) for n, (_, many) in CASES.items() for o in many])
def test_the_job_finds_the_loss_that_training_reported(trained, tmp_path, name, objective):
    fleet, call, result = trained[name, objective]
    task = TaskRef("text", objective)
    spec = EvaluationSpec("aa", task, call.spec.corpus, fleet.backbone, 1, (("language:aa", 1.0),), "validation", 16)
    inputs = {"language:aa": call.output, "theta_pre": call.inputs["theta_pre"]}
    found = Worker().run(JobCall("e", spec, inputs, tmp_path, tmp_path / "none", call.cache), no_progress)
    loss = found.metrics["mlm_loss" if objective == "masked-lm" else "lm_loss"]
    assert loss == pytest.approx(result.metrics["validation_loss"], abs=1e-5)
    assert found.metrics["perplexity"] == pytest.approx(math.exp(loss))
    document = json.loads((tmp_path / "statistics.json").read_text())
    rows = np.array(document["rows"])
    assert tuple(document["columns"]) == LOSS_COLUMNS and len(rows) == found.details["examples"] > 1
    assert rows[:, 0].sum() / rows[:, 1].sum() == pytest.approx(loss, abs=1e-5)
    assert not (tmp_path / "predictions.jsonl").exists()


def test_a_mixture_of_weight_zero_is_the_backbone_alone(trained):
    fleet, call, _ = trained["llama", "causal-lm"]
    warm = LanguageEvaluator(fleet.backbone, call.cache, "cpu")
    alone = warm.evaluate(_evaluation(call), stack_of())
    theta_pre = call.inputs["theta_pre"]
    nothing = warm.evaluate(_evaluation(call), stack_of(((call.output, 0.0),), theta_pre=theta_pre))
    half = warm.evaluate(_evaluation(call), stack_of(((call.output, 0.5),), theta_pre=theta_pre))
    assert nothing.value == pytest.approx(alone.value, abs=1e-6)
    assert abs(half.value - alone.value) > 1e-4


def test_text_that_the_family_cannot_be_scored_by_and_rows_that_are_too_long_are_refused(trained):
    fleet, call, _ = trained["mt5", "prefix-lm"]
    warm = LanguageEvaluator(fleet.backbone, call.cache, "cpu")
    wrong = dataclasses.replace(_evaluation(call), task=TaskRef("text", "causal-lm"))
    with pytest.raises(InputError, match="prefix-lm"):
        warm.evaluate(wrong, stack_of())
    fleet, call, _ = trained["llama", "causal-lm"]
    warm = LanguageEvaluator(fleet.backbone, call.cache, "cpu")
    with pytest.raises(InputError, match="reads at most 64"):
        warm.evaluate(dataclasses.replace(_evaluation(call), max_length=65), stack_of())


@pytest.mark.parametrize("name", ["llama", "xlm-roberta"])
def test_an_adapter_alone_has_the_loss_that_its_training_reported(trained, name):
    objective = CASES[name][1][0]
    fleet, call, result = trained[name, objective]
    adapters = {"aa": call.output, "start": call.inputs["theta_pre"]}
    losses, pieces = adapter_losses({"gl": _evaluation(call)}, adapters, fleet.backbone, call.cache)
    assert losses["gl"]["aa"] == pytest.approx(result.metrics["validation_loss"], abs=1e-5)
    bare = LanguageEvaluator(fleet.backbone, call.cache, "cpu").evaluate(_evaluation(call), stack_of())
    assert losses["gl"]["start"] == pytest.approx(bare.value, abs=1e-5)  # LoRA starts as nothing
    assert pieces == VOCABULARY
