"""LoRA for vLLM: its documented rules, written anew here from its documentation, and plain PEFT read what is written."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from tiny_adapters import llama, peft_outputs, randomize, save_hub, save_peft, tokens

from jobs.adapters.formats import read_adapter, write_adapter
from jobs.errors import InputError
from jobs.merging.served import served_lora

ALLOWED = {1, 8, 16, 32, 64, 128, 256, 320, 512}  # vllm/config/lora.py: MaxLoRARanks
PLAIN_INITS = (True, False, None, "gaussian", "eva", "orthogonal", "mica", "lora_ga")


def vllm_changes(folder, max_lora_rank):
    """Module -> delta W as vLLM reads a directory; an assertion fails where it would refuse it.

    Rules: PEFTHelper.validate_legal and its required fields, LoRAModel.from_local_checkpoint with the linear modules of
    the model, and set_lora, which copies factors into zeros [max_lora_rank, inputs] and [outputs, max_lora_rank].
    """
    config = json.loads((folder / "adapter_config.json").read_text())
    assert max_lora_rank in ALLOWED and 0 < config["r"] <= max_lora_rank
    assert isinstance(config["r"], int) and isinstance(config["lora_alpha"], int) and config["target_modules"]
    assert config.get("bias", "none") == "none" and config.get("init_lora_weights") in PLAIN_INITS
    refused = ("modules_to_save", "use_dora", "lora_bias", "alora_invocation_tokens", "layer_replication", "use_bdlora")
    passed_over = ("use_qalora", "rank_pattern", "alpha_pattern", "trainable_token_indices", "target_parameters")
    assert not [key for key in (*refused, *passed_over) if config.get(key)]
    scaling = config["lora_alpha"] / (math.sqrt(config["r"]) if config.get("use_rslora") else config["r"])
    linear = {name.rpartition(".")[2] for name, one in llama().named_modules() if isinstance(one, torch.nn.Linear)}
    stored, buffers = load_file(folder / "adapter_model.safetensors"), {}
    for name, tensor in stored.items():
        parts = name.split(".")
        assert parts[:2] == ["base_model", "model"] and parts[-1] == "weight" and parts[-2] in ("lora_A", "lora_B")
        assert parts[-3] in linear and tensor.dim() == 2
        rows, columns = tensor.shape
        shape = (max_lora_rank, columns) if parts[-2] == "lora_A" else (rows, max_lora_rank)
        buffer = torch.zeros(shape)
        buffer[:rows, :columns].copy_(tensor)
        buffers.setdefault(".".join(parts[2:-2]), {})[parts[-2]] = buffer
    return {module: scaling * both["lora_B"] @ both["lora_A"] for module, both in buffers.items()}


def served_outputs(changes):
    model = llama()
    for module, change in changes.items():
        model.get_submodule(module).weight.data += change
    with torch.no_grad():
        return model(tokens()).logits


def served(folder, sources, rank=None, model_type="llama"):
    found = served_lora([read_adapter(source) for source in sources], model_type, rank)
    write_adapter(found.merged.adapter, folder / "out")
    return found


@pytest.mark.parametrize("kind", ["lora", "rslora", "lokr", "lokr_factored"])
def test_vllm_and_peft_compute_what_the_adapter_does(tmp_path, kind):
    found = served(tmp_path, [save_peft(tmp_path / "a", kind, 1)])
    expected = peft_outputs(tmp_path / "a")
    assert found.rank == min(rank for rank in ALLOWED - {1} if rank >= found.needed)
    torch.testing.assert_close(peft_outputs(tmp_path / "out"), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        served_outputs(vllm_changes(tmp_path / "out", found.rank)), expected, rtol=1e-4, atol=1e-5
    )
    assert found.merged.truncation() is None or found.merged.truncation()["relative_error"] == 0.0


def test_factors_of_one_scaling_are_kept_bit_for_bit_beside_zeros(tmp_path):
    assert served(tmp_path, [save_peft(tmp_path / "a", "lora", 1, torch.bfloat16)]).untouched
    before, after = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("a", "out"))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        rows, columns = tensor.shape
        assert torch.equal(after[name][:rows, :columns], tensor) and after[name].dtype == torch.bfloat16
        assert not after[name][rows:].any() and not after[name][:, columns:].any()
    assert json.loads((tmp_path / "out/adapter_config.json").read_text())["lora_alpha"] == 16  # 8 / 4 of 8


def test_adapters_that_act_beside_each_other_become_one(tmp_path):
    found = served(tmp_path, [save_peft(tmp_path / "a", "lora", 1), save_peft(tmp_path / "b", "rslora", 2)])
    from peft import PeftModel

    model = PeftModel.from_pretrained(llama(), str(tmp_path / "a"), adapter_name="a")
    model.load_adapter(str(tmp_path / "b"), adapter_name="b")
    model.base_model.set_adapter(["a", "b"])
    with torch.no_grad():
        expected = model.eval()(tokens()).logits
    assert (found.needed, found.rank) == (8, 8)
    torch.testing.assert_close(served_outputs(vllm_changes(tmp_path / "out", 8)), expected, rtol=1e-4, atol=1e-5)


def test_a_smaller_rank_truncates_with_the_error_that_is_said(tmp_path):
    sources = [save_peft(tmp_path / str(seed), "lora", seed) for seed in (1, 2, 3)]
    found = served(tmp_path, sources, 8)
    exact = {}
    for source in sources:
        for module, change in vllm_changes(source, 8).items():
            exact[module] = exact.get(module, 0) + change
    lost = sum(float((torch.linalg.svdvals(change.double())[8:] ** 2).sum()) for change in exact.values())
    total = sum(float((change.double() ** 2).sum()) for change in exact.values())
    assert found.merged.truncation()["relative_error"] == pytest.approx((lost / total) ** 0.5, rel=1e-4)
    kept = vllm_changes(tmp_path / "out", 8)
    off = sum(float(((kept[module] - exact[module]).double() ** 2).sum()) for module in exact)
    assert (off / total) ** 0.5 == pytest.approx((lost / total) ** 0.5, rel=1e-4) and found.needed == 12


REFUSED = {
    "use_dora": {"use_dora": True},
    "lora_bias": {"lora_bias": True},
    "bias: all": {"bias": "all"},
    "init_lora_weights: olora": {"init_lora_weights": "olora"},
    "alora_invocation_tokens": {"alora_invocation_tokens": [3]},
    "modules_to_save: norm": {"modules_to_save": ["norm"]},
    "trainable_token_indices": {"trainable_token_indices": [1, 2]},
    "lora_embedding_A": {"target_modules": ["embed_tokens"]},
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_vllm_cannot_serve_says_why(tmp_path, said):
    settings = {"r": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM", **REFUSED[said]}
    get_peft_model(llama(), LoraConfig(**settings)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=f"vLLM cannot serve this adapter .got .*{said}") as refused:
        served_lora([read_adapter(tmp_path)], "llama")
    assert all("; " in str(fault) for fault in refused.value.faults)


def test_other_kinds_formats_architectures_and_ranks_are_refused(tmp_path):
    lora = read_adapter(save_peft(tmp_path / "lora", "lora", 1))
    for made, kind in ((save_peft, "ia3"), (save_peft, "prefix"), (save_hub, "bottleneck"), (save_hub, "lora")):
        with pytest.raises(InputError, match=f"cannot serve this adapter .got {kind}"):
            served_lora([read_adapter(made(tmp_path / f"{made.__name__}-{kind}", kind, 1))], "")
    for model_type in ("xlm-roberta", "gpt2", "t5"):
        with pytest.raises(InputError, match=f"a backbone of type {model_type}"):
            served_lora([lora], model_type)
    with pytest.raises(InputError, match="vLLM has no such rank .got 24.; choose one of 8, 16"):
        served_lora([lora], "llama", 24)
    wide = get_peft_model(llama(), LoraConfig(r=513, target_modules=["q_proj"]))
    randomize({name: value for name, value in wide.named_parameters() if value.requires_grad}, 1)
    wide.save_pretrained(tmp_path / "wide")
    with pytest.raises(InputError, match="no rank that holds this change .got rank 513.; its largest is 512"):
        served_lora([read_adapter(tmp_path / "wide")], "llama")
    assert served_lora([replace(lora, name="x")], "").rank == 8
