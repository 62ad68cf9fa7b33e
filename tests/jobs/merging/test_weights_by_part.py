"""Weights that differ from part to part of the adapters, against sums of the files' own tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from tiny_adapters import randomize, save_hub, save_peft, write_recipe
from transformers import LlamaConfig, LlamaForCausalLM

from jobs.adapters.formats import read_adapter
from jobs.errors import InputError
from jobs.merging.merge import merge
from jobs.merging.mixture import mix
from jobs.spec import Mixture

UP = "mlp.up_proj"


def run(folder: Path, **document: Any) -> Path:
    return merge(write_recipe(folder / "r.yaml", name="gl", **document), folder / "out").path


def tensors(directory: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.double() for name, tensor in read_adapter(directory).tensors.items()}


def assert_sums(out: Path, sources: list[Path], weights: Callable[[str], tuple[float, ...]]) -> None:
    states = [tensors(source) for source in sources]
    for name, tensor in tensors(out).items():
        expected = sum(w * state[name] for w, state in zip(weights(name), states, strict=True))
        torch.testing.assert_close(tensor, expected, rtol=1e-5, atol=1e-6)


@pytest.fixture
def madx(tmp_path):
    """Three MAD-X adapters of a model of two layers: its lower third is layer 0, its upper one layer 1."""
    return [save_hub(tmp_path / f"s{seed}", "madx", seed) for seed in (1, 2, 3)]


def test_a_source_has_weights_of_its_own_in_some_parts(tmp_path, madx):
    sources = [
        {"adapter": "s1", "weight": 0.7, "parts": {"invertible": 0.2, "upper": 1.0}},
        {"adapter": "s2", "weight": 0.3, "parts": {"invertible": 0.8, "upper": 0.0}},
    ]
    out = run(tmp_path, method="linear", sources=sources)

    def weights(name):
        return (0.2, 0.8) if "invertible" in name else (1.0, 0.0) if "layer.1." in name else (0.7, 0.3)

    assert any("layer.1." in name for name in tensors(out)) and any("layer.0." in name for name in tensors(out))
    assert_sums(out, madx[:2], weights)


def test_a_part_that_one_source_names_weighs_the_others_as_ever_and_normalizes_alone(tmp_path, madx):
    sources = [{"adapter": "s1", "weight": 3.0, "parts": {"layers 0-0": 1.0}}, {"adapter": "s2", "weight": 1.0}]
    out = run(tmp_path, method="linear", sources=sources, options={"normalize": True})
    assert_sums(out, madx[:2], lambda name: (0.5, 0.5) if "layer.0." in name else (0.75, 0.25))


def test_task_arithmetic_takes_the_rest_of_each_part_from_its_base(tmp_path, madx):
    sources = [{"adapter": "s1", "weight": 0.4, "parts": {"lower": 1.5}}, {"adapter": "s2", "weight": 0.9}]
    out = run(tmp_path, method="task_arithmetic", base="s3", sources=sources)
    assert_sums(out, madx, lambda name: (1.5, 0.9, -1.4) if "layer.0." in name else (0.4, 0.9, -0.3))


@pytest.mark.parametrize("space", ["delta", "core"])
def test_modules_of_lora_are_parts_in_every_space_of_delta_w(tmp_path, space):
    sources = [save_peft(tmp_path / f"s{seed}", "lora", seed) for seed in (1, 2)]
    listed = [{"adapter": "s1", "weight": 0.6, "parts": {"attention": -0.5}}, {"adapter": "s2", "weight": 0.4}]
    found = load_file(run(tmp_path, method="linear", sources=listed, space=space) / "adapter_model.safetensors")
    files = [load_file(source / "adapter_model.safetensors") for source in sources]
    for up in (name for name in found if "lora_B" in name):
        down = up.replace("lora_B", "lora_A")
        weights = (0.6, 0.4) if UP in up else (-0.5, 0.4)
        expected = sum(2.0 * w * f[up].double() @ f[down].double() for w, f in zip(weights, files, strict=True))
        torch.testing.assert_close(found[up].double() @ found[down].double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "parts", "message"),
    [
        ("madx", {"middle": 0.5}, r"nothing of the adapter is in the part middle.*2 layers.*it has invertible, lower"),
        ("madx", {"attention": 0.5}, "nothing of the adapter is in the part attention"),
        ("madx", {"lower": 0.5, "feed-forward": 0.1}, "parts overlap.*lower and feed-forward"),
        ("madx", {"bottom": 0.5}, "no such part"),
        ("flat_prefix", {"lower": 0.5}, "nothing of the adapter is in the part lower.*one `weight` for all"),
    ],
)
def test_parts_that_are_not_there_or_overlap_are_refused(tmp_path, kind, parts, message):
    save_hub(tmp_path / "s1", kind, 1)
    with pytest.raises(InputError, match=message):
        run(tmp_path, method="linear", sources=[{"adapter": "s1", "weight": 1.0, "parts": parts}])
    assert not (tmp_path / "out").exists()


def test_the_record_has_the_weights_of_the_parts(tmp_path, madx):
    listed = [{"adapter": "s1", "weight": 0.7, "parts": {"lower": 0.2}}, {"adapter": "s2", "weight": 0.3}]
    recipe = write_recipe(tmp_path / "r.yaml", name="gl", method="linear", sources=listed)
    parents = merge(recipe, tmp_path / "out").record["parents"]
    assert [(one["weight"], one["parts"]) for one in parents] == [(0.7, {"lower": 0.2}), (0.3, {"lower": 0.3})]


def save_deep(directory: Path, seed: int) -> Path:
    """LoRA on four layers."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 24}
    model = get_peft_model(
        LlamaForCausalLM(LlamaConfig(vocab_size=32, **sizes)), LoraConfig(r=2, target_modules=["q_proj"])
    )
    randomize({name: value for name, value in model.named_parameters() if value.requires_grad}, seed)
    model.save_pretrained(str(directory))
    return directory


def test_layer_swapping_puts_the_task_adapter_s_middle_layers_into_the_language_adapter(tmp_path):
    task, language = (save_deep(tmp_path / f"s{seed}", seed) for seed in (1, 2))
    out = run(tmp_path, method="layer_swapping", task="s1", language="s2")
    files = {
        "middle": load_file(task / "adapter_model.safetensors"),
        "rest": load_file(language / "adapter_model.safetensors"),
    }
    for name, tensor in load_file(out / "adapter_model.safetensors").items():
        inside = any(f".layers.{layer}." in name for layer in (1, 2))
        assert torch.equal(tensor, files["middle" if inside else "rest"][name])


def test_a_mixture_of_parts_is_the_sum_that_it_says(tmp_path, madx):
    adapters = {key: read_adapter(path) for key, path in zip(("en", "gl", "pre"), madx, strict=True)}
    base = adapters.pop("pre")
    mixture = Mixture((("en", 0.5), ("gl", 0.5)), parts=(("lower", (("gl", 0.9), ("en", 0.1))),))
    merged = mix(mixture, adapters, None, "out")  # theta_pre drops out in every part
    for name, tensor in merged.tensors.items():
        en, gl = (0.1, 0.9) if "layer.0." in name else (0.5, 0.5)
        expected = en * adapters["en"].tensors[name].numpy() + gl * adapters["gl"].tensors[name].numpy()
        np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-5, atol=1e-6)
    signed = Mixture((("en", 0.5), ("gl", 0.5)), parts=(("lower", (("en", 0.1), ("gl", 0.2))),))
    with pytest.raises(InputError, match="needs a base"):
        mix(signed, adapters, None, "out")
    merged = mix(signed, adapters, base, "out")
    name = next(name for name in merged.tensors if "layer.0." in name)
    expected = 0.7 * base.tensors[name] + 0.1 * adapters["en"].tensors[name] + 0.2 * adapters["gl"].tensors[name]
    torch.testing.assert_close(merged.tensors[name], expected)
    with pytest.raises(InputError, match="only sums have weights by part"):
        mix(Mixture(mixture.weights, "slerp", parts=mixture.parts), adapters, None, "out")


def test_layer_swapping_as_a_mixture_knows_its_roles_by_name(tmp_path):
    task, language = (read_adapter(save_deep(tmp_path / f"s{seed}", seed)) for seed in (1, 2))
    weights = (("language:gl", 1.0), ("task:en", 1.0))
    merged = mix(Mixture(weights, "layer_swapping"), {"task:en": task, "language:gl": language}, None, "out")
    for name, tensor in merged.tensors.items():
        source = task if any(f".layers.{layer}." in name for layer in (1, 2)) else language
        assert torch.equal(tensor, source.tensors[name])
    with pytest.raises(InputError, match="not the keys of layer swapping"):
        mix(Mixture((("en", 1.0), ("gl", 1.0)), "layer_swapping"), {"en": task, "gl": language}, None, "out")
