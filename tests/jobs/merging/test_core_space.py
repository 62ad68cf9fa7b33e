"""Core space: sums are exact there, and rules on single values act on the published projection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_adapters import peft_outputs, save_hub, save_peft, write_recipe

from jobs.adapters.formats import read_adapter
from jobs.adapters.lora_modules import lora_modules, lora_update
from jobs.errors import InputError
from jobs.merging.merge import merge

Deltas = dict[str, np.ndarray]


def deltas(directory: Path) -> Deltas:
    """Delta W of every module, in double precision."""
    adapter = read_adapter(directory)
    found = {}
    for name, module in lora_modules(adapter).items():
        update = lora_update(adapter, module)
        found[name] = module.scaling * update.up.double().numpy() @ update.down.double().numpy()
    return found


def run(folder: Path, method: str, listed: list[dict[str, object]], **rest: object) -> Path:
    recipe = write_recipe(folder / "r.yaml", name="gl", method=method, sources=listed, space="core", **rest)
    report = merge(recipe, folder / "out")
    assert report.record["space"] == "core"
    return report.path


@pytest.mark.parametrize("kinds", [("lora", "lora"), ("lora", "rslora")])
@pytest.mark.parametrize("rank", [{}, {"rank": 3}])
def test_a_weighted_sum_is_that_of_delta_w(tmp_path, kinds, rank):
    for seed, kind in enumerate(kinds, 1):
        save_peft(tmp_path / f"s{seed}", kind, seed)
    listed = [{"adapter": "s1", "weight": 0.7}, {"adapter": "s2", "weight": -0.4}]
    out = run(tmp_path, "linear", listed, **rank)
    one, two, found = deltas(tmp_path / "s1"), deltas(tmp_path / "s2"), deltas(out)
    for module, change in found.items():
        expected = 0.7 * one[module] - 0.4 * two[module]
        if rank:
            u, s, vh = np.linalg.svd(expected, full_matrices=False)
            expected = u[:, :3] * s[:3] @ vh[:3]
        np.testing.assert_allclose(change, expected, atol=1e-5 * np.abs(expected).max())


def test_adapters_of_adapterhub_are_summed_alike(tmp_path):
    for seed in (1, 2):
        save_hub(tmp_path / f"s{seed}", "lora", seed)
    out = run(tmp_path, "linear", [{"adapter": "s1", "weight": 0.7}, {"adapter": "s2", "weight": 0.3}])
    one, two = deltas(tmp_path / "s1"), deltas(tmp_path / "s2")
    for module, change in deltas(out).items():
        np.testing.assert_allclose(change, 0.7 * one[module] + 0.3 * two[module], atol=1e-5)


def projected(folder: Path, names: list[str], module: str) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """The paper's bases and cores of one module of PEFT LoRA of scaling 2 (alpha 8, rank 4), with numpy."""
    files = [load_file(folder / name / "adapter_model.safetensors") for name in names]
    ups = [file[f"{module}.lora_B.weight"].double().numpy() for file in files]
    downs = [file[f"{module}.lora_A.weight"].double().numpy() for file in files]
    left = np.linalg.svd(np.hstack(ups), full_matrices=False)[0]
    right = np.linalg.svd(np.vstack(downs), full_matrices=False)[2]
    return left, right, [2.0 * left.T @ up @ down @ right.T for up, down in zip(ups, downs, strict=True)]


def test_ties_acts_on_the_projection_of_the_paper(tmp_path):
    names = ["s1", "s2", "s3"]
    for seed, name in enumerate(names, 1):
        save_peft(tmp_path / name, "lora", seed)
    out = run(tmp_path, "ties", [{"adapter": n} for n in names], options={"density": 0.4, "lambda": 1.3})
    found = deltas(out)
    projections = {module: projected(tmp_path, names, module) for module in sorted(found)}
    taus = np.stack(
        [np.concatenate([p[2][i].astype(np.float32).ravel() for p in projections.values()]) for i in range(3)]
    )
    keep = int(0.4 * taus.shape[1])
    for tau in taus:
        tau[np.abs(tau) < np.sort(np.abs(tau))[::-1][keep - 1]] = 0.0
    chosen = taus * (np.sign(taus) == np.sign(taus.sum(axis=0)))
    merged = 1.3 * chosen.sum(axis=0) / np.maximum((chosen != 0).sum(axis=0), 1)
    start = 0
    for module, (left, right, parts) in projections.items():
        core = merged[start : start + parts[0].size].reshape(parts[0].shape)
        start += parts[0].size
        np.testing.assert_allclose(found[module], left @ core @ right, rtol=1e-3, atol=1e-4)
    assert torch.isfinite(peft_outputs(out)).all()  # loads in plain peft


@pytest.mark.parametrize(("method", "options"), [("ties", {"density": 1.0}), ("slerp", {"t": 0.5})])
def test_equal_sources_come_back(tmp_path, method, options):
    for name in ("s1", "s2"):
        save_peft(tmp_path / name, "lora", 1)
    out = run(tmp_path, method, [{"adapter": "s1"}, {"adapter": "s2"}], options=options)
    expected = deltas(tmp_path / "s1")
    for module, change in deltas(out).items():
        np.testing.assert_allclose(change, expected[module], atol=1e-5)


@pytest.mark.parametrize("kind", ["lokr", "ia3"])
def test_other_kinds_have_no_core(tmp_path, kind):
    for seed in (1, 2):
        save_peft(tmp_path / f"s{seed}", kind, seed)
    with pytest.raises(InputError, match="space"):
        run(tmp_path, "linear", [{"adapter": "s1", "weight": 1.0}, {"adapter": "s2", "weight": 1.0}])


def test_values_that_are_not_finite_are_refused_where_they_stand(tmp_path):
    for seed in (1, 2):
        save_peft(tmp_path / f"s{seed}", "lora", seed)
    path = tmp_path / "s2" / "adapter_model.safetensors"
    tensors = load_file(path)
    next(tensor for name, tensor in sorted(tensors.items()) if "lora_B" in name)[0, 0] = float("nan")
    save_file(tensors, path)
    with pytest.raises(InputError, match="s2: .*lora_B"):
        run(tmp_path, "ties", [{"adapter": "s1"}, {"adapter": "s2"}])
    assert not (tmp_path / "out").exists()


def test_other_modules_and_biases_are_refused(tmp_path):
    save_peft(tmp_path / "s1", "lora", 1)
    save_peft(tmp_path / "s2", "lora_bias", 2)
    both = [{"adapter": "s1"}, {"adapter": "s2"}]
    with pytest.raises(InputError, match="s1"):
        run(tmp_path, "ties", both)
    save_peft(tmp_path / "s3", "lora_bias", 3)
    with pytest.raises(InputError, match="more than low-rank factors"):
        run(tmp_path, "ties", [{"adapter": "s2"}, {"adapter": "s3"}])
