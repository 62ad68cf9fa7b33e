"""TIES, DARE and slerp on whole delta W: refusals are those of every space, and convolutions stay convolutions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_adapters import randomize, save_peft, write_recipe
from torch import nn

from jobs.errors import InputError
from jobs.merging.merge import merge

RULES = {"ties": {"density": 1.0}, "dare": {"density": 1.0}, "slerp": {"t": 0.0}}
UP = "base_model.model.model.layers.1.mlp.up_proj"


class Net(nn.Module):
    """A convolution and a matrix on its mean."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, (3, 2), padding=1)
        self.lin = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.lin(self.conv(x).mean((2, 3)))
        return out


def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


def save_conv(directory: Path, seed: int) -> None:
    model = get_peft_model(net(), LoraConfig(r=2, lora_alpha=3, target_modules=["conv", "lin"]))
    randomize({name: value for name, value in model.named_parameters() if value.requires_grad}, seed)
    model.save_pretrained(str(directory))


def merged(folder: Path, method: str, rank: int = 4) -> Path:
    listed = [{"adapter": n, **({"weight": w} if method == "dare" else {})} for n, w in (("s1", 1.0), ("s2", 0.0))]
    options = {"options": RULES[method]}
    recipe = write_recipe(
        folder / "r.yaml", method=method, sources=listed, name="gl", space="delta", rank=rank, **options
    )
    return merge(recipe, folder / "out").path


@pytest.mark.parametrize("method", sorted(RULES))
def test_a_merged_convolution_loads_in_plain_peft_and_computes_the_rule(tmp_path, method):
    save_conv(tmp_path / "s1", 1)
    save_conv(tmp_path / "s2", 1 if method == "ties" else 2)  # each rule's settings make the first source its result
    out = merged(tmp_path, method, rank=3)
    images = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        expected, got = (PeftModel.from_pretrained(net(), str(d)).eval()(images) for d in (tmp_path / "s1", out))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert load_file(out / "adapter_model.safetensors")["base_model.model.conv.lora_A.weight"].shape == (3, 4, 3, 2)


@pytest.mark.parametrize("method", sorted(RULES))
@pytest.mark.parametrize("kind", ["lora", "lokr"])
def test_dtypes_that_differ_are_refused_naming_both(tmp_path, method, kind):
    save_peft(tmp_path / "s1", kind, 1)
    save_peft(tmp_path / "s2", kind, 2, dtype=torch.bfloat16)
    with pytest.raises(InputError, match=r"dtypes differ.*float32 in s1, torch.bfloat16 in s2"):
        merged(tmp_path, method)


def test_a_module_keeps_its_own_dtype(tmp_path):
    for seed in (1, 2):
        save_peft(tmp_path / f"s{seed}", "lora", seed)
        path = tmp_path / f"s{seed}" / "adapter_model.safetensors"
        save_file({n: v.bfloat16() if "up_proj" in n else v for n, v in load_file(path).items()}, path)
    written = load_file(merged(tmp_path, "slerp") / "adapter_model.safetensors")
    assert {n.split(".")[-3]: v.dtype for n, v in written.items()} == {
        "q_proj": torch.float32,
        "up_proj": torch.bfloat16,
    }


@pytest.mark.parametrize("method", sorted(RULES))
def test_values_that_are_not_finite_are_refused_where_they_stand(tmp_path, method):
    for seed in (1, 2):
        save_peft(tmp_path / f"s{seed}", "lora", seed)
    path = tmp_path / "s2" / "adapter_model.safetensors"
    tensors = load_file(path)
    tensors[f"{UP}.lora_B.weight"][3, 1] = float("inf")
    save_file(tensors, path)
    with pytest.raises(InputError, match=r"NaN or infinite.*s2: .*up_proj\.lora_B|s2: .*up_proj\.lora_B.*NaN or inf"):
        merged(tmp_path, method)
    assert not (tmp_path / "out").exists()
