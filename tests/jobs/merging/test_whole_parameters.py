"""Embedding copies, trained tokens, biases, magnitudes and heads are values of the model: never scaled as if changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_adapters import llama, peft_outputs, randomize, save_peft, tokens, write_recipe

from jobs.errors import InputError
from jobs.merging.merge import merge

EMBEDDING = "base_model.model.model.embed_tokens.weight"
BIAS = "base_model.model.model.layers.0.self_attn.q_proj.bias"
COPY = "base_model.model.model.embed_tokens.base_layer.weight"
SPACES = {"lora": ("factors", "delta"), "lokr": ("factors", "delta", "kronecker"), "ia3": (None,)}
KINDS = [(kind, space) for kind, spaces in SPACES.items() for space in spaces]
WHOLE = "a whole parameter, not a change"


def linear(folder: Path, weights: tuple[float, ...], space: str | None = None, **more: object) -> Path:
    listed = [{"adapter": f"s{i}", "weight": weight} for i, weight in enumerate(weights, start=1)]
    spaced = {"space": space} if space else {}
    recipe = write_recipe(folder / "r.yaml", method="linear", sources=listed, name="gl", **spaced, **more)
    return merge(recipe, folder / f"out{weights[0]}").path


def beside(folder: Path, kind: str, name: str, values: tuple[float, ...]) -> None:
    """Adapters of that kind, each with one more tensor of one value."""
    for seed, value in enumerate(values, start=1):
        save_peft(folder / f"s{seed}", kind, seed)
        path = folder / f"s{seed}" / "adapter_model.safetensors"
        save_file({**load_file(path), name: torch.full((4, 3), value)}, path)


def of(directory: Path, name: str) -> torch.Tensor:
    return load_file(directory / "adapter_model.safetensors")[name]


@pytest.mark.parametrize("name", [EMBEDDING, BIAS])
@pytest.mark.parametrize(("kind", "space"), KINDS)
def test_whole_parameters_are_averaged_where_weights_sum_to_one_and_else_refused(tmp_path, kind, space, name):
    beside(tmp_path, kind, name, (4.0, 8.0))
    out = linear(tmp_path, (0.25, 0.75), space)
    assert of(out, name).tolist() == [[7.0] * 3] * 4
    for weights in ((0.6, 0.6), (1.0, -1.0)):
        with pytest.raises(InputError, match=f"{WHOLE} .*let the weights sum to one") as error:
            linear(tmp_path, weights, space)
        assert "space: factors" not in str(error.value)


@pytest.mark.parametrize("space", ["factors", "delta"])
def test_copies_of_a_frozen_embedding_are_handed_on_by_every_rule_and_space(tmp_path, space):
    beside(tmp_path, "lora", COPY, (5.0, 5.0))
    assert of(linear(tmp_path, (0.6, -0.2), space), COPY).tolist() == [[5.0] * 3] * 4
    rank = {"rank": 4} if space == "delta" else {"base": "zero"}
    sources = [{"adapter": "s1"}, {"adapter": "s2"}]
    recipe = write_recipe(tmp_path / "t.yaml", method="ties", sources=sources, name="gl", space=space, **rank)
    assert of(merge(recipe, tmp_path / "ties").path, COPY).tolist() == [[5.0] * 3] * 4


@pytest.mark.parametrize("method", ["ties", "dare"])
def test_rules_that_trim_need_a_base_for_whole_parameters(tmp_path, method):
    beside(tmp_path, "lora", BIAS, (4.0, 8.0, 3.0))
    listed = [{"adapter": n, **({"weight": 0.5} if method == "dare" else {})} for n in ("s1", "s2")]
    shared = {"method": method, "sources": listed, "name": "gl", "space": "factors", "options": {"density": 1.0}}
    with pytest.raises(InputError, match=f"{WHOLE}.*without a base.*give the adapter at its initialization"):
        merge(write_recipe(tmp_path / "r.yaml", base="zero", **shared), tmp_path / "out")
    out = merge(write_recipe(tmp_path / "r.yaml", base="s3", **shared), tmp_path / "out").path
    # Both: 3 + the mean of 1 and 5, all values being kept.
    assert of(out, BIAS).tolist() == [[6.0] * 3] * 4


def save_tokens(directory: Path, seed: int, rows: list[int]) -> None:
    config = LoraConfig(r=4, target_modules=["q_proj"], trainable_token_indices=rows, task_type="CAUSAL_LM")
    model = get_peft_model(llama(), config)
    randomize({name: value for name, value in model.named_parameters() if value.requires_grad}, seed)
    model.save_pretrained(str(directory))


@pytest.mark.parametrize("weights", [(0.3, 0.7), (1.5, -0.5)])
def test_trained_tokens_equal_the_sum_of_what_peft_itself_merges(tmp_path, weights):
    before = llama().state_dict()
    change = {name: torch.zeros_like(value) for name, value in before.items()}
    for seed, weight in enumerate(weights, start=1):
        save_tokens(tmp_path / f"s{seed}", seed, [4, 5, 9])
        after = PeftModel.from_pretrained(llama(), str(tmp_path / f"s{seed}")).merge_and_unload().state_dict()
        for name in change:
            change[name] += weight * (after[name] - before[name])
    model = llama()
    model.load_state_dict({name: before[name] + change[name] for name in before})
    with torch.no_grad():
        expected = model(tokens()).logits
    torch.testing.assert_close(peft_outputs(linear(tmp_path, weights, "delta")), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=f"trainable_tokens.*{WHOLE}"):
        linear(tmp_path, (0.6, 0.6))


def test_trained_tokens_in_another_order_are_other_tokens(tmp_path):
    save_tokens(tmp_path / "s1", 1, [4, 5, 9])
    save_tokens(tmp_path / "s2", 2, [9, 5, 4])
    with pytest.raises(InputError, match="configurations differ: trainable_token_indices"):
        linear(tmp_path, (0.5, 0.5))


def test_magnitudes_of_dora_are_no_changes(tmp_path):
    for seed in (1, 2):
        config = LoraConfig(r=4, target_modules=["q_proj"], use_dora=True)
        get_peft_model(llama(), config).save_pretrained(str(tmp_path / f"s{seed}"))
    out = linear(tmp_path, (0.5, 0.5), "factors")
    # Untrained, B is zero and the magnitudes are the norms of the rows: the model is unchanged.
    with torch.no_grad():
        torch.testing.assert_close(peft_outputs(out), llama()(tokens()).logits, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=f"lora_magnitude_vector.*{WHOLE}"):
        linear(tmp_path, (1.0, 1.0), "factors")


def test_modules_that_peft_saves_whole_are_merged_like_heads(tmp_path):
    beside(tmp_path, "lora", "base_model.model.lm_head.weight", (4.0, 8.0))
    for seed in (1, 2):
        path = tmp_path / f"s{seed}" / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "modules_to_save": ["lm_head"]}))
    assert of(linear(tmp_path, (0.5, 0.5)), "base_model.model.lm_head.weight").tolist() == [[6.0] * 3] * 4
    with pytest.raises(InputError, match=f"head: {WHOLE}.*use head: first, mean or drop"):
        linear(tmp_path, (1.0, 1.0))
    assert of(linear(tmp_path, (0.7, 0.7), head="mean"), "base_model.model.lm_head.weight").tolist() == [[6.0] * 3] * 4
