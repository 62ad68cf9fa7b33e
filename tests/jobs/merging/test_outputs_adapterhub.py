"""AdapterHub: the model with the merged adapter computes what the sources' definition says, by independent means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_adapters import HUB_CONFIGS, hub_model, hub_outputs, save_hub, tokens, write_recipe

from jobs.merging.merge import merge

WEIGHTS = [0.6, 0.9, -0.4]
STORED = ("bottleneck", "madx", "parallel", "learned_scaling", "ia3", "flat_prefix")


def sources(folder: Path, kind: str, labels: int = 0) -> list[str]:
    for seed in (1, 2, 3):
        save_hub(folder / f"s{seed}", kind, seed, labels=labels)
    return ["s1", "s2", "s3"]


def linear(folder: Path, kind: str, labels: int = 0, **more: object) -> Path:
    names = sources(folder, kind, labels)
    listed = [{"adapter": name, "weight": weight} for name, weight in zip(names, WEIGHTS, strict=True)]
    recipe = write_recipe(folder / "recipe.yaml", method="linear", sources=listed, name="gl", **more)
    return merge(recipe, folder / "out").path


def file_of(folder: Path, seed: int) -> dict[str, torch.Tensor]:
    """The tensors of a source by the names they have in a model whose adapter is called `gl`."""
    loaded = torch.load(folder / f"s{seed}" / "pytorch_adapter.bin", weights_only=True)
    return {name.replace(f".a{seed}.", ".gl."): tensor for name, tensor in loaded.items()}


def outputs_with(tensors: dict[str, torch.Tensor], kind: str) -> torch.Tensor:
    """What a model computes whose adapter `gl` holds these tensors, put there by hand."""
    model = hub_model()
    model.add_adapter("gl", config=HUB_CONFIGS[kind]())
    assert not model.load_state_dict(tensors, strict=False).unexpected_keys
    model.set_active_adapters("gl")
    model.eval()
    with torch.no_grad():
        return model(tokens()).last_hidden_state


@pytest.mark.parametrize("kind", STORED)
def test_weights_interpolated_by_hand_give_the_same_outputs(tmp_path, kind):
    out = linear(tmp_path, kind)
    files = [file_of(tmp_path, seed) for seed in (1, 2, 3)]
    by_hand = {
        name: torch.from_numpy(sum(w * f[name].double().numpy() for w, f in zip(WEIGHTS, files, strict=True))).float()
        for name in files[0]
    }
    torch.testing.assert_close(hub_outputs(out), outputs_with(by_hand, kind), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [*STORED, "lora", "prefix"])
def test_average_adapter_without_normalization_gives_the_same_weights_and_outputs(tmp_path, kind):
    space = {"space": "factors"} if kind in ("lora", "prefix") else {}
    out = linear(tmp_path, kind, **space)
    model = hub_model()
    for seed in (1, 2, 3):
        model.load_adapter(str(tmp_path / f"s{seed}"), with_head=False)
    # Called on a model with heads, average_adapter leaves the invertible adapters out without a word.
    model.base_model.average_adapter("mean", ["a1", "a2", "a3"], weights=WEIGHTS, normalize_weights=False)
    model.load_adapter(str(out), with_head=False)
    model.eval()
    state = model.state_dict()
    ours = [name for name in state if ".gl." in name]
    assert ours
    for name in ours:
        torch.testing.assert_close(state[name], state[name.replace(".gl.", ".mean.")], rtol=1e-6, atol=1e-6)
    results = []
    for active in ("mean", "gl"):
        model.set_active_adapters(active)
        with torch.no_grad():
            results.append(model(tokens()).last_hidden_state)
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("rank", "tolerance"), [(None, 1e-5), (9, 1e-5), (2, 1e-5)])
def test_lora_in_delta_space_equals_delta_w_summed_by_hand_in_the_backbone(tmp_path, rank, tolerance):
    out = linear(tmp_path, "lora", space="delta", **({"rank": rank} if rank else {}))
    model = hub_model()
    state = model.state_dict()
    files = [file_of(tmp_path, seed) for seed in (1, 2, 3)]
    for name in files[0]:
        if not name.endswith("lora_A"):
            continue
        module = name.removesuffix(".loras.gl.lora_A")
        # alpha 6, r 3: a scaling of 2.
        delta = sum(
            w * 2.0 * f[f"{module}.loras.gl.lora_B"].double().numpy() @ f[name].double().numpy()
            for w, f in zip(WEIGHTS, files, strict=True)
        )
        if rank:
            u, s, vh = np.linalg.svd(delta, full_matrices=False)
            delta = (u[:, :rank] * s[:rank]) @ vh[:rank]
        state[f"{module}.weight"] += torch.from_numpy(delta).float()
    model.load_state_dict(state)
    with torch.no_grad():
        expected = model(tokens()).last_hidden_state
    torch.testing.assert_close(hub_outputs(out), expected, rtol=tolerance, atol=tolerance)


def test_factors_and_delta_differ_by_the_cross_terms(tmp_path):
    delta = hub_outputs(linear(tmp_path, "lora", space="delta"))
    (tmp_path / "b").mkdir()
    factors = hub_outputs(linear(tmp_path / "b", "lora", space="factors"))
    assert float((delta - factors).abs().max()) > 1e-2


def test_ia3_equals_rows_of_the_backbone_scaled_by_hand(tmp_path):
    out = linear(tmp_path, "ia3")
    model = hub_model()
    state = model.state_dict()
    files = [file_of(tmp_path, seed) for seed in (1, 2, 3)]
    for name in files[0]:
        module = name.removesuffix(".loras.gl.lora_B")
        scale = sum(w * f[name] for w, f in zip(WEIGHTS, files, strict=True))
        state[f"{module}.weight"] *= scale
        state[f"{module}.bias"] *= scale.flatten()
    model.load_state_dict(state)
    with torch.no_grad():
        expected = model(tokens()).last_hidden_state
    torch.testing.assert_close(hub_outputs(out), expected, rtol=1e-4, atol=1e-5)


def test_reparametrized_prefixes_are_summed_as_the_model_sees_them(tmp_path):
    out = linear(tmp_path, "prefix")
    flat = []
    for seed in (1, 2, 3):
        model = hub_model()
        model.load_adapter(str(tmp_path / f"s{seed}"), with_head=False)
        model.eject_prefix_tuning(f"a{seed}")
        state = model.state_dict()
        (name,) = [n for n in state if n.startswith("roberta.prefix_tuning") and n.endswith("control_trans")]
        flat.append(state[name].clone())
    total = sum(w * tensor for w, tensor in zip(WEIGHTS, flat, strict=True))
    expected = outputs_with({"roberta.prefix_tuning.prefix_tunings.gl.self_prefix.control_trans": total}, "flat_prefix")
    torch.testing.assert_close(hub_outputs(out), expected, rtol=1e-5, atol=1e-5)


def test_heads_are_merged_by_the_same_rule_and_give_the_logits_of_hand_interpolated_weights(tmp_path):
    out = linear(tmp_path, "bottleneck", labels=3)
    model = hub_model()
    model.add_adapter("gl", config=HUB_CONFIGS["bottleneck"]())
    model.add_tagging_head("gl", num_labels=3)
    total: dict[str, torch.Tensor] = {}
    for seed, weight in zip((1, 2, 3), WEIGHTS, strict=True):
        head = torch.load(tmp_path / f"s{seed}" / "pytorch_model_head.bin", weights_only=True)
        head = {name.replace(f".a{seed}.", ".gl."): tensor for name, tensor in head.items()}
        for name, tensor in {**file_of(tmp_path, seed), **head}.items():
            total[name] = total.get(name, 0) + weight * tensor
    model.load_state_dict(total, strict=False)
    model.set_active_adapters("gl")
    model.active_head = "gl"
    model.eval()
    with torch.no_grad():
        expected = model(tokens()).logits
    torch.testing.assert_close(hub_outputs(out, head=True), expected, rtol=1e-5, atol=1e-5)


def test_language_arithmetic_covers_the_invertible_adapters(tmp_path):
    sources(tmp_path, "madx")
    recipe = write_recipe(
        tmp_path / "recipe.yaml",
        method="task_arithmetic",
        base="s3",
        sources=[{"adapter": "s1", "weight": 0.35}, {"adapter": "s2", "weight": 0.65}],
        name="gl",
    )
    out = merge(recipe, tmp_path / "out").path
    one, two = file_of(tmp_path, 1), file_of(tmp_path, 2)
    assert any("invertible_adapters" in name for name in one)
    by_hand = {name: 0.35 * one[name] + 0.65 * two[name] for name in one}
    torch.testing.assert_close(hub_outputs(out), outputs_with(by_hand, "madx"), rtol=1e-5, atol=1e-5)


def test_adamergex_multiplies_ia3_vectors(tmp_path):
    sources(tmp_path, "ia3")
    roles = {"task_source": "s1", "reference_target": "s2", "reference_source": "s3"}
    recipe = write_recipe(tmp_path / "recipe.yaml", method="adamergex", **roles, t=0.7, name="gl")
    out = merge(recipe, tmp_path / "out").path
    task, target, source = (file_of(tmp_path, seed) for seed in (1, 2, 3))
    by_hand = {name: task[name] * (0.7 * (target[name] / source[name] - 1) + 1) for name in task}
    torch.testing.assert_close(hub_outputs(out), outputs_with(by_hand, "ia3"), rtol=1e-5, atol=1e-5)


def test_adamergex_on_prefixes_works_layer_by_layer(tmp_path):
    sources(tmp_path, "flat_prefix")
    roles = {"task_source": "s1", "reference_target": "s2", "reference_source": "s3"}
    recipe = write_recipe(tmp_path / "recipe.yaml", method="adamergex", **roles, t=0.5, name="gl")
    report = merge(recipe, tmp_path / "out")
    assert "unverified" in report.record["notes"][0]
    name = "roberta.prefix_tuning.prefix_tunings.gl.self_prefix.control_trans"
    # 3 virtual tokens, a key and a value for each of 2 layers, width 32.
    task, target, source = (file_of(tmp_path, s)[name].double().numpy().reshape(3, 4, 32) for s in (1, 2, 3))
    by_hand = np.empty((3, 4, 32))
    for block in range(4):
        ratio = target[:, block] @ np.linalg.pinv(source[:, block])
        by_hand[:, block] = 0.5 * ratio @ task[:, block]
    expected = outputs_with({name: torch.from_numpy(by_hand.reshape(-1)).float()}, "flat_prefix")
    torch.testing.assert_close(hub_outputs(tmp_path / "out"), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("operators", ["add", "multiply"])
def test_adamergex_takes_the_operators_asked_for_on_the_prefixes_that_a_network_computes(tmp_path, operators):
    sources(tmp_path, "prefix")
    roles = {"task_source": "s1", "reference_target": "s2", "reference_source": "s3"}
    more = {"space": "delta", "operators": operators, "t": 0.5, "name": "gl"}
    out = merge(write_recipe(tmp_path / "recipe.yaml", method="adamergex", **roles, **more), tmp_path / "out").path
    stem = "roberta.prefix_tuning.prefix_tunings.gl.self_prefix"

    def computed(seed: int) -> torch.Tensor:
        own = file_of(tmp_path, seed)
        middle = torch.tanh(
            own[f"{stem}.wte.weight"] @ own[f"{stem}.control_trans.0.weight"].T + own[f"{stem}.control_trans.0.bias"]
        )
        return (middle @ own[f"{stem}.control_trans.2.weight"].T + own[f"{stem}.control_trans.2.bias"]).reshape(-1)

    task, target, source = (computed(seed) for seed in (1, 2, 3))
    by_hand = task + 0.5 * (target - source) if operators == "add" else task * (0.5 * (target / source - 1) + 1)
    written = torch.load(out / "pytorch_adapter.bin", weights_only=True)[f"{stem}.control_trans"]
    torch.testing.assert_close(written, by_hand, rtol=1e-4, atol=1e-5)


def test_a_bare_and_a_headed_model_save_adapters_that_merge(tmp_path):
    save_hub(tmp_path / "s1", "madx", 1)
    save_hub(tmp_path / "s2", "madx", 2)
    stored = torch.load(tmp_path / "s2" / "pytorch_adapter.bin", weights_only=True)
    bare = {name.removeprefix("roberta."): tensor for name, tensor in stored.items()}
    torch.save(bare, tmp_path / "s2" / "pytorch_adapter.bin")
    listed = [{"adapter": name, "weight": 0.5} for name in ("s1", "s2")]
    out = merge(write_recipe(tmp_path / "r.yaml", method="linear", sources=listed, name="gl"), tmp_path / "out").path
    one, two = file_of(tmp_path, 1), {f"roberta.{name}": tensor for name, tensor in file_of(tmp_path, 2).items()}
    by_hand = {name: 0.5 * one[name] + 0.5 * two[name] for name in one}
    torch.testing.assert_close(hub_outputs(out), outputs_with(by_hand, "madx"), rtol=1e-5, atol=1e-5)
