"""PEFT: the model with the merged adapter computes what the sources' definition says, by independent means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tiny_adapters import llama, peft_outputs, save_peft, tokens, write_recipe

from jobs.merging.merge import MergeReport, merge

WEIGHTS = [0.6, 0.9, -0.4]
LOW_RANK = ("lora", "rslora", "lokr", "lokr_factored")


def linear(folder: Path, kinds: list[str], weights: list[float] = WEIGHTS, **more: object) -> MergeReport:
    for seed, kind in enumerate(kinds, start=1):
        save_peft(folder / f"s{seed}", kind, seed)
    listed = [{"adapter": f"s{i}", "weight": weight} for i, weight in enumerate(weights, start=1)]
    recipe = write_recipe(folder / "recipe.yaml", method="linear", sources=listed, name="gl", **more)
    return merge(recipe, folder / "out")


def deltas(directory: Path) -> dict[str, np.ndarray]:
    """delta W of every adapted module, as PEFT itself computes it."""
    model = PeftModel.from_pretrained(llama(), str(directory))
    return {
        name.removeprefix("base_model.model."): module.get_delta_weight("default").detach().double().numpy()
        for name, module in model.named_modules()
        if hasattr(module, "get_delta_weight")
    }


def summed(folder: Path, weights: list[float] = WEIGHTS) -> dict[str, np.ndarray]:
    each = [deltas(folder / f"s{index}") for index in range(1, len(weights) + 1)]
    return {name: sum(w * d[name] for w, d in zip(weights, each, strict=True)) for name in each[0]}


def outputs_with(changes: dict[str, np.ndarray]) -> torch.Tensor:
    """Logits of the backbone alone with delta W added to its weights by hand."""
    model = llama()
    state = model.state_dict()
    for module, delta in changes.items():
        state[f"{module}.weight"] += torch.from_numpy(delta).float()
    model.load_state_dict(state)
    with torch.no_grad():
        return model(tokens()).logits


@pytest.mark.parametrize("kind", LOW_RANK)
def test_delta_space_equals_delta_w_summed_by_hand_in_the_backbone(tmp_path, kind):
    report = linear(tmp_path, [kind] * 3, space="delta")
    torch.testing.assert_close(peft_outputs(report.path), outputs_with(summed(tmp_path)), rtol=1e-4, atol=1e-5)


def test_sources_of_different_ranks_and_scalings_are_summed_exactly(tmp_path):
    report = linear(tmp_path, ["lora", "rslora", "lora"], space="delta")
    torch.testing.assert_close(peft_outputs(report.path), outputs_with(summed(tmp_path)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", LOW_RANK)
@pytest.mark.parametrize("rank", [2, 5])
def test_a_truncated_merge_is_the_best_one_and_its_stated_error_is_true(tmp_path, kind, rank):
    report = linear(tmp_path, [kind] * 3, space="delta", rank=rank)
    exact = summed(tmp_path)
    kept, lost, total = {}, 0.0, 0.0
    for module, delta in exact.items():
        u, s, vh = np.linalg.svd(delta, full_matrices=False)
        kept[module] = (u[:, :rank] * s[:rank]) @ vh[:rank]
        lost, total = lost + (s[rank:] ** 2).sum(), total + (s**2).sum()
    torch.testing.assert_close(peft_outputs(report.path), outputs_with(kept), rtol=1e-4, atol=1e-5)
    assert report.record["truncation"]["relative_error"] == pytest.approx((lost / total) ** 0.5, rel=1e-5, abs=1e-6)


def test_pefts_own_concatenation_gives_the_same_outputs(tmp_path):
    report = linear(tmp_path, ["lora"] * 3, space="delta")
    model = PeftModel.from_pretrained(llama(), str(tmp_path / "s1"), adapter_name="s1")
    for name in ("s2", "s3"):
        model.load_adapter(str(tmp_path / name), adapter_name=name)
    model.add_weighted_adapter(["s1", "s2", "s3"], WEIGHTS, "cat", combination_type="cat")
    model.set_adapter("cat")
    model.eval()
    with torch.no_grad():
        expected = model(tokens()).logits
    torch.testing.assert_close(peft_outputs(report.path), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rank", [3, 12])
def test_pefts_own_svd_gives_the_same_outputs(tmp_path, rank):
    report = linear(tmp_path, ["lora"] * 3, space="delta", rank=rank)
    model = PeftModel.from_pretrained(llama(), str(tmp_path / "s1"), adapter_name="s1")
    for name in ("s2", "s3"):
        model.load_adapter(str(tmp_path / name), adapter_name=name)
    model.add_weighted_adapter(["s1", "s2", "s3"], WEIGHTS, "svd", combination_type="svd", svd_rank=rank)
    model.set_adapter("svd")
    model.eval()
    with torch.no_grad():
        expected = model(tokens()).logits
    torch.testing.assert_close(peft_outputs(report.path), expected, rtol=1e-4, atol=1e-5)


def test_an_adapter_minus_itself_leaves_the_backbone_alone(tmp_path):
    save_peft(tmp_path / "s1", "rslora", 1)
    listed = [{"adapter": "s1", "weight": 1.0}, {"adapter": "s1", "weight": -1.0}]
    recipe = write_recipe(tmp_path / "r.yaml", method="linear", sources=listed, name="gl", space="delta")
    out = merge(recipe, tmp_path / "out").path
    torch.testing.assert_close(peft_outputs(out), outputs_with({}), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["lokr", "lokr_factored"])
def test_the_nearest_kronecker_product_is_what_its_stated_error_says(tmp_path, kind):
    report = linear(tmp_path, [kind] * 3, space="kronecker")
    exact, kept = summed(tmp_path), deltas(report.path)
    lost = sum(((kept[m] - exact[m]) ** 2).sum() for m in exact)
    total = sum((exact[m] ** 2).sum() for m in exact)
    assert report.record["truncation"]["relative_error"] == pytest.approx((lost / total) ** 0.5, rel=1e-4)
    assert report.adapter.kind == "lokr"
    torch.testing.assert_close(peft_outputs(report.path), outputs_with(kept), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["lora", "rslora", "lora_bias", "ia3", "prefix", "lokr", "lokr_factored"])
def test_factors_and_stored_parameters_are_summed_one_by_one(tmp_path, kind):
    space = {} if kind in ("ia3", "prefix") else {"space": "factors"}
    report = linear(tmp_path, [kind] * 3, **space)
    merged = load_file(report.path / "adapter_model.safetensors")
    files = [load_file(tmp_path / f"s{seed}" / "adapter_model.safetensors") for seed in (1, 2, 3)]
    assert merged.keys() == files[0].keys()
    for name, tensor in merged.items():
        expected = sum(w * f[name].double() for w, f in zip(WEIGHTS, files, strict=True))
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.isfinite(peft_outputs(report.path)).all()


def test_ia3_equals_the_backbone_scaled_by_hand(tmp_path):
    report = linear(tmp_path, ["ia3"] * 3)
    files = [load_file(tmp_path / f"s{seed}" / "adapter_model.safetensors") for seed in (1, 2, 3)]
    model = llama()
    state = model.state_dict()
    for name in files[0]:
        module = name.removeprefix("base_model.model.").removesuffix(".ia3_l")
        # [out, 1] scales rows (outputs), [1, in] scales columns (inputs of the feed-forward's second map).
        state[f"{module}.weight"] *= sum(w * f[name] for w, f in zip(WEIGHTS, files, strict=True))
    model.load_state_dict(state)
    with torch.no_grad():
        expected = model(tokens()).logits
    torch.testing.assert_close(peft_outputs(report.path), expected, rtol=1e-4, atol=1e-5)


def test_prefixes_summed_by_hand_in_the_model_give_the_same_outputs(tmp_path):
    report = linear(tmp_path, ["prefix"] * 3)
    files = [load_file(tmp_path / f"s{seed}" / "adapter_model.safetensors") for seed in (1, 2, 3)]
    model = PeftModel.from_pretrained(llama(), str(tmp_path / "s1")).eval()
    total = sum(w * f["prompt_embeddings"] for w, f in zip(WEIGHTS, files, strict=True))
    model.prompt_encoder["default"].embedding.weight.data.copy_(total)
    with torch.no_grad():
        expected = model(tokens()).logits
    torch.testing.assert_close(peft_outputs(report.path), expected, rtol=1e-5, atol=1e-6)


def test_the_bias_of_b_is_summed_with_its_scaling(tmp_path):
    report = linear(tmp_path, ["lora_bias"] * 3, space="delta")
    files = [load_file(tmp_path / f"s{seed}" / "adapter_model.safetensors") for seed in (1, 2, 3)]
    model = llama()
    state = model.state_dict()
    hooks = {}
    for name in files[0]:
        if name.endswith("lora_A.weight"):
            stem = name.removesuffix(".lora_A.weight")
            module = stem.removeprefix("base_model.model.")
            # alpha 8, r 2: a scaling of 4.
            delta = sum(4 * w * f[f"{stem}.lora_B.weight"] @ f[name] for w, f in zip(WEIGHTS, files, strict=True))
            hooks[module] = sum(4 * w * f[f"{stem}.lora_B.bias"] for w, f in zip(WEIGHTS, files, strict=True))
            state[f"{module}.weight"] += delta
    model.load_state_dict(state)
    for module, bias in hooks.items():
        model.get_submodule(module).register_forward_hook(lambda _m, _i, output, bias=bias: output + bias)
    with torch.no_grad():
        expected = model(tokens()).logits
    torch.testing.assert_close(peft_outputs(report.path), expected, rtol=1e-4, atol=1e-5)


def test_ties_on_delta_w_equals_the_dense_procedure(tmp_path):
    for seed in (1, 2):
        save_peft(tmp_path / f"s{seed}", "lora", seed)
    recipe = write_recipe(
        tmp_path / "r.yaml",
        method="ties",
        sources=[{"adapter": "s1"}, {"adapter": "s2"}],
        options={"density": 0.3, "lambda": 1.2},
        space="delta",
        rank=32,
        name="gl",
    )
    out = merge(recipe, tmp_path / "out").path
    one, two = deltas(tmp_path / "s1"), deltas(tmp_path / "s2")
    order = sorted(one)
    taus = np.stack([np.concatenate([d[m].astype(np.float32).ravel() for m in order]) for d in (one, two)])
    keep = int(0.3 * taus.shape[1])
    for tau in taus:
        tau[np.abs(tau) < np.sort(np.abs(tau))[::-1][keep - 1]] = 0.0
    signs = np.sign(taus.sum(axis=0))
    signs[signs == 0] = np.sign(signs.sum())
    chosen = taus * np.where(signs > 0, taus > 0, taus < 0)
    merged = 1.2 * chosen.sum(axis=0) / np.maximum((chosen != 0).sum(axis=0), 1)
    changes, start = {}, 0
    for module in order:
        changes[module] = merged[start : start + one[module].size].reshape(one[module].shape)
        start += one[module].size
    torch.testing.assert_close(peft_outputs(out), outputs_with(changes), rtol=1e-3, atol=1e-4)


def test_adamergex_adds_lora_factors_apart(tmp_path):
    for seed in (1, 2, 3):
        save_peft(tmp_path / f"s{seed}", "lora", seed)
    roles = {"task_source": "s1", "reference_target": "s2", "reference_source": "s3"}
    recipe = write_recipe(tmp_path / "r.yaml", method="adamergex", **roles, t=0.5, name="gl")
    report = merge(recipe, tmp_path / "out")
    assert report.record["space"] == "factors"
    task, target, source = (load_file(tmp_path / f"s{s}" / "adapter_model.safetensors") for s in (1, 2, 3))
    for name, tensor in load_file(report.path / "adapter_model.safetensors").items():
        torch.testing.assert_close(tensor, task[name] + 0.5 * (target[name] - source[name]), rtol=1e-5, atol=1e-6)


def test_bfloat16_adapters_are_summed_in_float32(tmp_path):
    for seed in (1, 2, 3):
        save_peft(tmp_path / f"s{seed}", "lora", seed, dtype=torch.bfloat16)
    listed = [{"adapter": f"s{i}", "weight": w} for i, w in enumerate(WEIGHTS, start=1)]
    recipe = write_recipe(tmp_path / "r.yaml", method="linear", sources=listed, name="gl", space="factors")
    merge(recipe, tmp_path / "out")
    files = [load_file(tmp_path / f"s{seed}" / "adapter_model.safetensors") for seed in (1, 2, 3)]
    for name, tensor in load_file(tmp_path / "out" / "adapter_model.safetensors").items():
        exact = sum(w * f[name].double() for w, f in zip(WEIGHTS, files, strict=True))
        assert tensor.dtype == torch.bfloat16
        # One rounding: at most half a unit in the last place of bfloat16 (8 bits of mantissa), plus float32's error.
        assert bool(((tensor.double() - exact).abs() <= exact.abs() * 2.0**-8 + 1e-6).all())


@pytest.mark.parametrize(("size", "weight"), [(2e-4, 0.05), (1e-2, 0.0001), (40.0, 3000.0)])
@pytest.mark.parametrize("rank", [{}, {"rank": 8}])
def test_float16_holds_small_and_large_updates_in_both_factors(tmp_path, size, weight, rank):
    save_peft(tmp_path / "s1", "lora", 1)
    path = tmp_path / "s1" / "adapter_model.safetensors"
    stored = {name: (v * (size if "lora_B" in name else 0.1)).half() for name, v in load_file(path).items()}
    save_file(stored, path)
    sources = [{"adapter": "s1", "weight": weight}]
    recipe = write_recipe(tmp_path / "r.yaml", method="linear", sources=sources, name="gl", **rank)
    got = load_file(merge(recipe, tmp_path / "out").path / "adapter_model.safetensors")
    for name in (name for name in stored if "lora_B" in name):
        down = name.replace("lora_B", "lora_A")
        exact = weight * 2.0 * (stored[name].double() @ stored[down].double())
        found = got[name].double() @ got[down].double()
        assert got[name].dtype == torch.float16
        # Both factors rounded once, to 11 bits.
        assert float((found - exact).norm() / exact.norm()) < 5e-4
