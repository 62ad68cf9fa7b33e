"""Banks of PEFT adapters: every language learns as if it were alone, whatever the kind, the model, the objective."""

from __future__ import annotations

import dataclasses

import peft
import pytest
import torch
from injected_fleet import LORA, TRAINING, InjectedFleet
from safetensors.torch import load_file
from stopped_training import Stop, stops_at
from transformers import AutoModelForCausalLM

from jobs.banks import bank as module
from jobs.banks.bank import train_languages
from jobs.errors import InputError
from jobs.spec import Ia3Config, LokrConfig, LoraConfig, PrefixConfig, adapter_dropout

IA3 = Ia3Config(("k_proj", "v_proj", "down_proj"), ("down_proj",))
DROPPED = dataclasses.replace(LORA, dropout=0.2)
QUICK = dataclasses.replace(TRAINING, learning_rate=3e-2)
SHORT = dataclasses.replace(TRAINING, optimizer_steps=4, evaluate_every=2)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return InjectedFleet(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    return InjectedFleet(tmp_path_factory.mktemp("t5"), "mt5")


@pytest.fixture(scope="module")
def xlmr(tmp_path_factory):
    return InjectedFleet(tmp_path_factory.mktemp("xlmr"), "xlm-roberta")


def _train(calls, **options):
    outcomes = dict(train_languages(calls, **options))
    failed = [outcome for outcome in outcomes.values() if isinstance(outcome, Exception)]
    assert not failed, failed
    return outcomes


def _weights(call):
    return load_file(call.output / "adapter_model.safetensors")


def _difference(first, second):
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.mark.parametrize("adapter", [LORA, DROPPED, IA3], ids=["lora", "lora with dropout", "ia3"])
def test_an_adapter_does_not_depend_on_the_size_of_its_bank(llama, adapter):
    languages = ["ba", "bb", "bc", "bd", "be", "bf", "bg", "bh"]
    kind = f"{type(adapter).__name__}-{adapter_dropout(adapter)}"
    found, training = {}, dataclasses.replace(TRAINING, optimizer_steps=20, evaluate_every=10)
    for size in (1, 3, 8):
        run = f"{kind}-{size}"
        calls = [llama.call(language, adapter, run=run, training=training) for language in languages[:size]]
        _train(calls)
        found[size] = _weights(calls[0])
    start = load_file(llama.theta_pre(adapter) / "adapter_model.safetensors")
    assert _difference(start, found[1]) > 1e-2
    assert _difference(found[1], found[3]) < 1e-5
    assert _difference(found[1], found[8]) < 1e-5


@pytest.mark.parametrize("adapter", [LORA, IA3], ids=["lora", "ia3"])
def test_a_stopped_bank_goes_on_bit_for_bit(llama, adapter, monkeypatch):
    training = dataclasses.replace(TRAINING, optimizer_steps=12, gradient_accumulation=2, evaluate_every=5)
    kind = type(adapter).__name__

    stop = stops_at(monkeypatch, 7)
    whole = [llama.call(code, adapter, "prefix-lm", f"whole-{kind}", training) for code in ("ga", "gb")]
    _train(whole)
    stopped = [llama.call(code, adapter, "prefix-lm", f"stopped-{kind}", training) for code in ("ga", "gb")]
    with pytest.raises(Stop):
        _train(stopped, progress=stop)
    results = _train(stopped)
    assert all(one.details["resumed_from_step"] >= 6 for one in results.values())
    for first, second in zip(whole, stopped, strict=True):
        name = "adapter_model.safetensors"
        assert (first.output / name).read_bytes() == (second.output / name).read_bytes()


def test_plain_peft_loads_the_result_and_finds_its_loss(llama):
    call = llama.call("ca", LoraConfig(4, 8.0, ("v_proj", "down_proj")), run="peft", training=QUICK)
    result = _train([call])["ca"]
    curve = dict(result.series["validation_loss"])
    assert curve[50] < curve[25]
    plain = AutoModelForCausalLM.from_pretrained(llama.backbone.path)
    model = peft.PeftModel.from_pretrained(plain, str(call.output)).eval()
    forward = module.AdapterBackends(llama.backbone).forward(call.spec.adapter, call.inputs["theta_pre"])
    losses = []
    for example in forward.start(call).held_out:
        logits = model(input_ids=torch.tensor(example.ids)[None]).logits[0]
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(example.labels), reduction="none"))
    expected = torch.cat(losses).mean().item()
    assert result.metrics["validation_loss"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("adapter", [LokrConfig(4, ("q_proj",)), PrefixConfig(3)], ids=["lokr", "prefix"])
def test_other_kinds_learn_in_banks_too(llama, adapter):
    kind = type(adapter).__name__
    calls = [llama.call(code, adapter, run=f"{kind}-2", training=SHORT) for code in ("da", "db")]
    _train(calls)
    alone = llama.call("da", adapter, run=f"{kind}-1", training=SHORT)
    _train([alone])
    assert _difference(_weights(calls[0]), _weights(alone)) < 1e-5
    start = load_file(llama.theta_pre(adapter) / "adapter_model.safetensors")
    assert _difference(start, _weights(alone)) > 1e-4


def test_t5_learns_by_prefix_lm(t5):
    calls = [t5.call(code, LoraConfig(2, 4.0, ("q", "v")), "prefix-lm") for code in ("ea", "eb")]
    results = _train(calls)
    curve = dict(results["ea"].series["validation_loss"])
    assert curve[50] < curve[25]
    alone = t5.call("ea", LoraConfig(2, 4.0, ("q", "v")), "prefix-lm", run="alone")
    _train([alone])
    assert _difference(_weights(calls[0]), _weights(alone)) < 1e-5


def test_an_encoder_learns_by_masked_lm_with_lora(xlmr):
    adapter = LoraConfig(4, 8.0, ("value", "output.dense"))
    calls = [xlmr.call(code, adapter, "masked-lm", training=QUICK) for code in ("fa", "fb")]
    curve = dict(_train(calls)["fa"].series["validation_loss"])
    assert curve[50] < curve[25]


def test_an_objective_that_the_family_cannot_learn_by_is_refused(t5, xlmr, llama):
    for fleet, adapter, objective, known in (
        (t5, LoraConfig(2, 4.0, ("q",)), "causal-lm", "prefix-lm"),
        (xlmr, LoraConfig(2, 4.0, ("query",)), "prefix-lm", "masked-lm"),
        (llama, LORA, "masked-lm", "causal-lm or prefix-lm"),
    ):
        (outcome,) = dict(train_languages([fleet.call("xx", adapter, objective, "refused")])).values()
        assert isinstance(outcome, InputError) and known in str(outcome)


def test_an_adapter_of_another_model_ends_its_languages_with_a_fault(llama, t5):
    call = llama.call("ya", run="foreign")
    foreign = dataclasses.replace(call, inputs={"theta_pre": t5.theta_pre(LoraConfig(2, 4.0, ("q", "v")))})
    (outcome,) = dict(train_languages([foreign])).values()
    assert isinstance(outcome, InputError) and "no such module" in str(outcome)
