"""Which part a tensor belongs to, by names of every kind of adapter."""

from __future__ import annotations

import pytest

from jobs.adapters.parts import PARTS, in_part, is_part, layers_of, thirds

MADX = "roberta.encoder.layer.3.output.adapters.*.adapter_down.0.weight"
LORA = "base_model.model.model.layers.11.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, ([], [0], [])),
        (2, ([0], [], [1])),
        (3, ([0], [1], [2])),
        (4, ([0], [1, 2], [3])),
        (5, ([0, 1], [2], [3, 4])),
        (12, ([0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11])),
    ],
)
def test_thirds_are_even_and_the_outer_two_alike(count, expected):
    assert tuple(map(list, thirds(range(count)).values())) == expected


def test_thirds_are_of_the_layers_that_the_adapter_has():
    layers = layers_of(f"model.layers.{number}.mlp.up_proj.lora_A.weight" for number in (6, 7, 2))
    assert layers == (2, 6, 7) and in_part("model.layers.6.mlp.up_proj.lora_B.weight", "middle", layers)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (MADX, {"lower", "feed-forward"}),
        (LORA, {"upper", "attention"}),
        ("base_model.model.model.layers.5.mlp.up_proj.lora_B.weight", {"middle", "feed-forward"}),
        ("bert.encoder.layer.5.attention.output.dense.loras.*.lora_A", {"middle", "attention"}),
        ("bert.encoder.layer.5.intermediate.dense.loras.*.lora_A", {"middle", "feed-forward"}),
        ("base_model.model.encoder.block.0.layer.0.SelfAttention.q.lora_A.weight", {"lower", "attention"}),
        ("base_model.model.encoder.block.0.layer.1.DenseReluDense.wi.lora_A.weight", {"lower", "feed-forward"}),
        ("base_model.model.transformer.h.11.attn.c_attn.lora_A.weight", {"upper", "attention"}),
        ("roberta.invertible_adapters.*.F.0.weight", {"invertible"}),
        ("prompt_embeddings", set()),
    ],
)
def test_names_tell_their_parts(name, parts):
    assert {part for part in PARTS if in_part(name, part, range(12))} == parts


def test_layers_may_be_named_by_number():
    assert is_part("layers 0-3") and not is_part("layers 3-1") and not is_part("layer 3") and not is_part("Lower")
    assert in_part(MADX, "layers 0-3", range(12)) and not in_part(LORA, "layers 0-3", range(12))
