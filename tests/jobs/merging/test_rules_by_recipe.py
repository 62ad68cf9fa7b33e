"""Every method of a recipe against numpy on the sources' own files, tensor by tensor."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_adapters import save_hub, save_peft, write_recipe

from jobs.adapters.formats import write_adapter
from jobs.arithmetic.tensors import LazyTensors, specs_of
from jobs.errors import InputError
from jobs.merging.merge import merge
from jobs.merging.plan import plan_merge
from jobs.merging.recipe import Linear
from jobs.merging.sources import RecipeInput, read_terms

State = dict[str, np.ndarray]


@pytest.fixture
def madx(tmp_path: Path) -> Path:
    """Five MAD-X adapters, `s1` to `s5`."""
    for seed in range(1, 6):
        save_hub(tmp_path / f"s{seed}", "madx", seed)
    return tmp_path


def stored(directory: Path) -> State:
    """The tensors of a directory by names without the adapter's own, in double precision."""
    tensors = torch.load(directory / "pytorch_adapter.bin", weights_only=True)
    return {
        name.replace(".a" + directory.name[1:] + ".", ".*.").replace(".gl.", ".*."): tensor.double().numpy()
        for name, tensor in tensors.items()
    }


def run(folder: Path, **document: object) -> tuple[State, list[State]]:
    recipe = write_recipe(folder / "r.yaml", name="gl", **document)
    out = merge(recipe, folder / "gl").path
    return stored(out), [stored(folder / f"s{seed}") for seed in range(1, 6)]


def assert_sum(merged: State, sources: list[State], weights: list[float]) -> None:
    for name in merged:
        expected = sum(w * s[name] for w, s in zip(weights, sources, strict=True) if w)
        np.testing.assert_allclose(merged[name], expected, rtol=1e-5, atol=1e-6)


def listed(*pairs: tuple[str, float]) -> list[dict[str, object]]:
    return [{"adapter": name, "weight": weight} for name, weight in pairs]


def test_linear_is_not_normalized_unless_that_is_asked_for(madx):
    merged, sources = run(madx, method="linear", sources=listed(("s1", 1.0), ("s2", -0.3)))
    assert_sum(merged, sources, [1.0, -0.3, 0, 0, 0])
    (madx / "gl").rename(madx / "first")
    merged, sources = run(madx, method="linear", sources=listed(("s1", 3.0), ("s2", 1.0)), options={"normalize": True})
    assert_sum(merged, sources, [0.75, 0.25, 0, 0, 0])


def test_weights_that_sum_to_zero_cannot_be_normalized(madx):
    with pytest.raises(InputError, match="sum to zero"):
        run(madx, method="linear", sources=listed(("s1", 1.0), ("s2", -1.0)), options={"normalize": True})


def test_average_and_task_arithmetic(madx):
    merged, sources = run(madx, method="average", sources=[{"adapter": f"s{i}"} for i in (1, 2, 3)])
    assert_sum(merged, sources, [1 / 3, 1 / 3, 1 / 3, 0, 0])
    (madx / "gl").rename(madx / "first")
    merged, sources = run(madx, method="task_arithmetic", base="s5", sources=listed(("s1", 0.4), ("s2", 0.9)))
    assert_sum(merged, sources, [0.4, 0.9, 0, 0, -0.3])


def test_task_arithmetic_on_task_vectors_adds_them_up(madx):
    merged, sources = run(madx, method="task_arithmetic", base="zero", sources=listed(("s1", 0.4), ("s2", 0.9)))
    assert_sum(merged, sources, [0.4, 0.9, 0, 0, 0])


def test_add_and_add_subtract_with_single_adapters_and_with_averages(madx):
    merged, sources = run(madx, method="add", task="s1", language="s2", options={"lambda": 0.3})
    assert_sum(merged, sources, [0.3, 0.7, 0, 0, 0])
    (madx / "gl").rename(madx / "first")
    merged, sources = run(
        madx,
        method="add_subtract",
        task=["s1", "s2"],
        language_target="s3",
        language_source=["s4", "s5"],
        options={"lambda": 0.3},
    )
    assert_sum(merged, sources, [0.15, 0.15, 0.7, -0.35, -0.35])


def test_arimerge_takes_the_same_rule_for_every_kind(madx):
    roles = {"task_source": "s1", "reference_target": "s2", "reference_source": "s3"}
    merged, sources = run(madx, method="arimerge", **roles, t=0.6)
    assert_sum(merged, sources, [1.0, 0.6, -0.6, 0, 0])


@pytest.mark.parametrize("density", [0.2, 0.8])
def test_ties_runs_over_all_tensors_invertible_ones_included(madx, density):
    merged, sources = run(
        madx,
        method="ties",
        base="s5",
        sources=[{"adapter": f"s{i}"} for i in (1, 2, 3)],
        options={"density": density, "lambda": 0.9},
    )
    names = sorted(merged)
    assert any("invertible" in name for name in names)
    flat = [np.concatenate([s[n].astype(np.float32).ravel() for n in names]) for s in sources]
    taus = np.stack([flat[i] - flat[4] for i in range(3)])
    keep = int(density * taus.shape[1])
    for tau in taus:
        tau[np.abs(tau) < np.sort(np.abs(tau))[::-1][keep - 1]] = 0.0
    signs = np.sign(taus.sum(axis=0))
    signs[signs == 0] = np.sign(signs.sum())
    chosen = taus * np.where(signs > 0, taus > 0, taus < 0)
    expected = flat[4] + 0.9 * chosen.sum(axis=0) / np.maximum((chosen != 0).sum(axis=0), 1)
    found = np.concatenate([merged[n].ravel() for n in names])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_slerp_and_dare_run_by_recipe(madx):
    merged, sources = run(madx, method="slerp", sources=[{"adapter": "s1"}, {"adapter": "s2"}], options={"t": 0.25})
    for name in merged:
        one, two = sources[0][name], sources[1][name]
        angle = np.arccos(np.sum(one * two) / np.linalg.norm(one) / np.linalg.norm(two))
        expected = np.sin(0.75 * angle) / np.sin(angle) * one + np.sin(0.25 * angle) / np.sin(angle) * two
        np.testing.assert_allclose(merged[name], expected, rtol=1e-5, atol=1e-6)
    (madx / "gl").rename(madx / "first")
    options = {"density": 1.0, "seed": 1}
    merged, sources = run(madx, method="dare", base="s5", sources=listed(("s1", 0.4), ("s2", 0.9)), options=options)
    assert_sum(merged, sources, [0.4, 0.9, 0, 0, -0.3])


@pytest.mark.parametrize("method", ["ties", "dare_ties"])
def test_a_recipe_of_mergekit_has_a_weight_and_a_density_for_each_source(madx, method):
    """Without dropping or trimming: of three task vectors the weighted values that agree with their weighted sum."""
    weights, sources = (0.5, 0.3, 0.4), ("s1", "s2", "s3")
    listed = [{"adapter": n, "weight": w, "density": 1.0} for n, w in zip(sources, weights, strict=True)]
    recipe = write_recipe(madx / "r.yaml", name="gl", method=method, base="s5", sources=listed)
    report = merge(recipe, madx / "gl")
    assert [parent["weight"] for parent in report.record["parents"]] == [None, *weights]
    merged, states = stored(madx / "gl"), [stored(madx / f"s{seed}") for seed in (1, 2, 3, 5)]
    for name in merged:
        taus = np.stack([w * (s[name] - states[3][name]) for w, s in zip(weights, states[:3], strict=True)])
        agrees = np.sign(taus) == np.sign(taus.sum(axis=0))
        total = (taus * agrees).sum(axis=0)
        shares = np.einsum("i,i...->...", np.array(weights), agrees.astype(float))
        expected = states[3][name] + (total / np.where(shares == 0, 1, shares) if method == "ties" else total)
        np.testing.assert_allclose(merged[name], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["dare", "dare_ties"])
def test_a_low_density_of_dare_is_remarked_on(madx, method):
    listed = [{"adapter": "s1", "weight": 0.4, "density": 0.1}, {"adapter": "s2", "weight": 0.9}]
    written = write_recipe(
        madx / "r.yaml", name="gl", method=method, base="s5", sources=listed, options={"density": 0.5}
    )
    report = merge(written, madx / "gl")
    (note,) = report.record["notes"]
    assert "multiplies what it keeps by 10: its random error is expected to be 3 times the size" in note
    assert note in (report.path / "README.md").read_text()


def test_linear_negate_b_is_what_adapters_calls_lora_linear_only_negate_b(tmp_path):
    from tiny_adapters import hub_model

    for seed in (1, 2):
        save_hub(tmp_path / f"s{seed}", "lora", seed)
    recipe = write_recipe(
        tmp_path / "r.yaml", method="linear_negate_b", sources=listed(("s1", 0.8), ("s2", -0.5)), name="gl"
    )
    merged = stored(merge(recipe, tmp_path / "gl").path)
    model = hub_model()
    for seed in (1, 2):
        model.load_adapter(str(tmp_path / f"s{seed}"), with_head=False)
    model.average_adapter(
        "mean", ["a1", "a2"], [0.8, -0.5], combine_strategy="lora_linear_only_negate_b", normalize_weights=False
    )
    state = model.state_dict()
    for name, tensor in merged.items():
        np.testing.assert_allclose(tensor, state[name.replace(".*.", ".mean.")].double().numpy(), rtol=1e-5, atol=1e-6)


def test_rules_with_roles_take_the_head_of_the_task_adapters(tmp_path):
    for seed in (1, 2):
        save_hub(tmp_path / f"s{seed}", "bottleneck", seed, labels=3)
    save_hub(tmp_path / "s3", "bottleneck", 3)
    recipe = write_recipe(
        tmp_path / "r.yaml", method="add", task=["s1", "s2"], language="s3", options={"lambda": 0.3}, name="gl"
    )
    out = merge(recipe, tmp_path / "gl").path
    heads = [torch.load(tmp_path / f"s{seed}" / "pytorch_model_head.bin", weights_only=True) for seed in (1, 2)]
    found = load_file(out / "model_head.safetensors")
    assert found.keys() == {"heads.gl.1.weight", "heads.gl.1.bias"}
    for name, tensor in found.items():
        one, two = (h[name.replace(".gl.", f".a{seed}.")] for seed, h in zip((1, 2), heads, strict=True))
        torch.testing.assert_close(tensor, (one + two) / 2)


def test_fully_trained_modules_of_peft_follow_the_head_policy(tmp_path):
    import json

    from safetensors.torch import save_file

    for seed in (1, 2):
        directory = save_peft(tmp_path / f"s{seed}", "lora", seed)
        config = json.loads((directory / "adapter_config.json").read_text())
        (directory / "adapter_config.json").write_text(json.dumps({**config, "modules_to_save": ["lm_head"]}))
        weights = load_file(directory / "adapter_model.safetensors")
        weights["base_model.model.lm_head.weight"] = torch.full((64, 32), float(seed))
        save_file(weights, directory / "adapter_model.safetensors", metadata={"format": "pt"})
    for head, expected in (("merge", 1.75), ("first", 1.0), ("drop", None)):
        sources = listed(("s1", 0.25), ("s2", 0.75))
        recipe = write_recipe(tmp_path / "r.yaml", method="linear", sources=sources, head=head, name="gl")
        out = merge(recipe, tmp_path / head).path
        weights = load_file(out / "adapter_model.safetensors")
        config = json.loads((out / "adapter_config.json").read_text())
        if expected is None:
            assert not any("lm_head" in name for name in weights)
            assert not config["modules_to_save"]
        else:
            assert weights["base_model.model.lm_head.weight"].unique().tolist() == [expected]
            assert config["modules_to_save"] == ["lm_head"]


class Watched(LazyTensors):
    """Hands out copies; counts how often each is asked for, and how many live at the same time."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.tensors, self.alive, self.most = tensors, 0, 0
        self.asked: Counter[str] = Counter()

    def specs(self):
        return specs_of(self.tensors)

    def __getitem__(self, name: str) -> torch.Tensor:
        copy = self.tensors[name].clone()
        self.asked[name] += 1
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(copy, self._gone)
        return copy

    def _gone(self) -> None:
        self.alive -= 1

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


@pytest.mark.parametrize(("kind", "save"), [("madx", save_hub), ("ia3", save_peft)])
def test_a_merge_reads_every_tensor_once_and_holds_one_of_each_source_at_a_time(tmp_path, kind, save):
    for seed in (1, 2):
        save(tmp_path / f"s{seed}", kind, seed)
    terms = read_terms([RecipeInput("source", "s1", 0.5), RecipeInput("source", "s2", 0.5)], tmp_path)
    watched = [Watched(term.adapter.tensors) for term in terms]
    terms = [replace(t, adapter=replace(t.adapter, tensors=w)) for t, w in zip(terms, watched, strict=True)]
    recipe = Linear(method="linear", name="gl", sources=[{"adapter": n, "weight": 0.5} for n in ("s1", "s2")])
    write_adapter(plan_merge(recipe, terms).adapter, tmp_path / "out")
    gc.collect()
    for watch in watched:
        assert watch.most == 1
        assert watch.asked == dict.fromkeys(watch, 1)


def test_memory_mapped_sources_are_views_of_their_files(tmp_path):
    save_peft(tmp_path / "s1", "lora", 1)
    (term,) = read_terms([RecipeInput("source", "s1", 1.0)], tmp_path)
    before = {name: tensor.clone() for name, tensor in term.adapter.tensors.items()}
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("needs /proc to see what is mapped")
    name = next(iter(before))
    tensor = term.adapter.tensors[name]
    ranges = [line for line in maps.read_text().splitlines() if line.endswith("s1/adapter_model.safetensors")]
    spans = [tuple(int(end, 16) for end in line.split()[0].split("-")) for line in ranges]
    assert any(low <= tensor.data_ptr() < high for low, high in spans)
