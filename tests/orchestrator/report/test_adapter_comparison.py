"""`compare` on LoRA: what needs no sum of delta W is compared without it, and the reason is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.report.adapter_comparison import AdapterGroup, compare_groups


def tensors(seed: int, up: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"lora_A": (2, 6), "lora_B": (8, up)}
    return {
        f"encoder.layer.{layer}.self.{part}": torch.randn(shape, generator=generator)
        for layer in (0, 1)
        for part, shape in shapes.items()
    }


def peft(directory: Path, seed: int, **settings: object) -> Path:
    directory.mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["self"], **settings}
    (directory / "adapter_config.json").write_text(json.dumps(config))
    named = {f"base_model.model.{name}.weight": tensor for name, tensor in tensors(seed).items()}
    save_file(named, directory / "adapter_model.safetensors")
    return directory


def hub(directory: Path, seed: int, prefix: str = "", up: int = 2) -> Path:
    directory.mkdir()
    settings = {"architecture": "lora", "r": 2, "alpha": 4, "composition_mode": "add"}
    config = {"config": settings, "name": "en", "hidden_size": 8, "model_type": "x", "version": "adapters.1.3.0"}
    (directory / "adapter_config.json").write_text(json.dumps(config))
    named = {f"{prefix}{n.replace('.lora_', '.loras.en.lora_')}": t for n, t in tensors(seed, up).items()}
    save_file(named, directory / "adapter.safetensors")
    return directory


def compared(*paths: Path) -> AdapterGroup:
    return compare_groups({"adapters": paths}, None, 1e-3).groups[0]


def flat(seed: int) -> torch.Tensor:
    return torch.cat([tensor.flatten() for _, tensor in sorted(tensors(seed).items())]).double()


def deltas(seed: int) -> torch.Tensor:
    made = tensors(seed)
    return torch.cat(
        [(made[f"encoder.layer.{i}.self.lora_B"] @ made[f"encoder.layer.{i}.self.lora_A"]).flatten() for i in (0, 1)]
    )


def cosine(one: torch.Tensor, two: torch.Tensor) -> float:
    return float(one.double() @ two.double() / one.double().norm() / two.double().norm())


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"use_dora": True}, "use_dora (got True)"), ({"init_lora_weights": "pissa"}, "init_lora_weights (got 'pissa')")],
)
def test_variants_without_a_sum_of_updates_are_compared_by_their_parameters(tmp_path, settings, reason):
    paths = [peft(tmp_path / f"l{seed}", seed, **settings) for seed in (1, 2)]
    group = compared(*paths)
    assert float(group.agreement["all"].cosine[0, 1]) == pytest.approx(cosine(flat(1), flat(2)), abs=1e-9)
    assert group.delta_cosine is None
    assert group.no_delta == f"{paths[0]}: no sum of delta W: {reason}"
    answer = CliRunner().invoke(app, ["compare", *map(str, paths), "-o", str(tmp_path / "out")], catch_exceptions=False)
    assert "adapters: no cosine of delta W: " in answer.output
    document = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert document["groups"][0]["no_delta_cosine"] == group.no_delta


def test_fused_projections_are_compared_by_their_parameters(tmp_path):
    group = compared(*(hub(tmp_path / f"l{seed}", seed, up=1) for seed in (1, 2)))
    assert group.delta_cosine is None
    assert group.no_delta and "space:" not in group.no_delta


def test_a_bare_and_a_headed_models_adapters_are_compared(tmp_path):
    group = compared(hub(tmp_path / "bare", 1), hub(tmp_path / "headed", 2, "roberta."))
    assert group.no_delta == ""
    assert float(group.delta_cosine[0, 1]) == pytest.approx(cosine(deltas(1), deltas(2)), abs=1e-6)
