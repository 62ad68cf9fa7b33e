"""Strangers' adapters of PEFT's kinds in the form of a campaign's own."""

from dataclasses import replace

import peft
import pytest
import torch
from tiny_adapters import randomize
from tiny_models import make_model
from transformers import AutoModelForCausalLM

from jobs.errors import InputError
from jobs.spec import AdapterRef, ForeignAdapterSpec, InitialAdapterSpec, JobCall, LoraConfig
from jobs.training.foreign import adapter_revision, check_foreign, foreign_adapter
from jobs.training.initial import initial_adapter

CAMPAIGN = LoraConfig(8, 8.0, ("q_proj", "v_proj"), 42)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("llama") / "llama", "llama")


@pytest.fixture(scope="module")
def theta_pre(backbone, tmp_path_factory):
    out = tmp_path_factory.mktemp("theta")
    initial_adapter(JobCall("theta-pre", InitialAdapterSpec(backbone, CAMPAIGN), {}, out, out / "none", out / "cache"))
    return out


def strangers_lora(backbone, folder, **settings):
    model = AutoModelForCausalLM.from_pretrained(backbone.path)
    model = peft.get_peft_model(model, peft.LoraConfig(**{"target_modules": ["q_proj", "v_proj"], **settings}))
    randomize({name: value for name, value in model.named_parameters() if value.requires_grad}, seed=3)
    model.save_pretrained(str(folder))
    return folder


def logits(backbone, folder):
    model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(backbone.path), str(folder))
    with torch.inference_mode():
        return model(torch.arange(24).view(2, 12)).logits


def taken_in(backbone, theta_pre, folder, out):
    source = AdapterRef(adapter_revision(folder), "a stranger's", str(folder))
    out.mkdir()
    spec = ForeignAdapterSpec("sw", source, backbone)
    foreign_adapter(JobCall("sw", spec, {"theta_pre": theta_pre}, out, out / "none", out / "cache"))
    return out


@pytest.mark.parametrize(
    "settings",
    [{"r": 8, "lora_alpha": 8}, {"r": 4, "lora_alpha": 32}, {"r": 3, "lora_alpha": 5, "use_rslora": True}],
    ids=["same", "smaller rank, other scaling", "rsLoRA"],
)
def test_a_lora_of_another_rank_and_scaling_stays_the_same_function(backbone, theta_pre, tmp_path, settings):
    folder = strangers_lora(backbone, tmp_path / "theirs", **settings)
    out = taken_in(backbone, theta_pre, folder, tmp_path / "ours")
    assert torch.allclose(logits(backbone, out), logits(backbone, folder), atol=1e-5)
    own = peft.PeftConfig.from_pretrained(str(out))
    assert (own.r, own.lora_alpha) == (8, 8.0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"r": 16}, "set lora.rank to 16"),
        ({"r": 4, "target_modules": ["q_proj", "k_proj"]}, "sits on other modules (got k_proj, q_proj)"),
        ({"r": 4, "use_dora": True}, "DoRA"),
        ({"r": 4, "bias": "lora_only"}, ""),
    ],
)
def test_what_the_campaigns_adapters_cannot_be_summed_with_is_refused(backbone, tmp_path, settings, said):
    folder = strangers_lora(backbone, tmp_path / "theirs", **settings)
    source = AdapterRef(adapter_revision(folder), "theirs", str(folder))
    config = {"hidden_size": 32, "num_hidden_layers": 2, "model_type": "llama"}
    if not said:  # Llama's projections have no bias to train
        check_foreign(source, backbone, config, CAMPAIGN, None, "")
        return
    with pytest.raises(InputError) as caught:
        check_foreign(source, backbone, config, CAMPAIGN, None, "")
    assert said in str(caught.value)


def test_an_adapter_of_another_kind_is_refused(backbone, tmp_path):
    model = peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(backbone.path),
        peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    )
    model.save_pretrained(str(tmp_path / "ia3"))
    source = AdapterRef("sha256:0", "theirs", str(tmp_path / "ia3"))
    with pytest.raises(InputError, match="of another kind"):
        check_foreign(source, replace(backbone, revision="sha256:0"), {}, CAMPAIGN, None, "")
