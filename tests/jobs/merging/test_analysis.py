"""The analyses against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_adapters import save_peft

from jobs.adapters.formats import read_adapter
from jobs.adapters.lora_modules import lora_modules, lora_update
from jobs.errors import InputError
from jobs.merging.analysis import agreement, cosine_of, delta_gram, kernel_density, layer_name, trimming_effect

SHAPES = {
    "roberta.encoder.layer.0.output.adapters.*.up": (5, 4),
    "roberta.encoder.layer.11.output.adapters.*.up": (5, 4),
    "roberta.invertible_adapters.*.F.0": (9,),
}


def state(seed: int) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(seed)
    found = {name: rng.normal(size=shape) * (rng.random(shape) < 0.6) for name, shape in SHAPES.items()}
    return {name: torch.from_numpy(values).float() for name, values in found.items()}


def flat(vector: dict[str, torch.Tensor], part: str = "") -> np.ndarray:
    return np.concatenate([v.double().numpy().ravel() for n, v in sorted(vector.items()) if part in n])


@pytest.mark.parametrize(
    ("group", "part"), [("all", ""), ("layer 00", "layer.0."), ("layer 11", "layer.11."), ("invertible", "inv")]
)
def test_cosines_signs_and_sparsity_are_those_of_the_flat_vectors(group, part):
    vectors = [state(1), state(2), state(3)]
    result = agreement(vectors, threshold=0.5)[group]
    rows = [flat(vector, part) for vector in vectors]
    assert result.parameters == len(rows[0])
    for i, one in enumerate(rows):
        assert result.norms[i] == pytest.approx(np.linalg.norm(one))
        assert result.zeros[i] == pytest.approx((one == 0).mean())
        assert result.small[i] == pytest.approx((np.abs(one) <= 0.5).mean())
        for j, two in enumerate(rows):
            cosine = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
            assert result.cosine[i, j] == pytest.approx(cosine, abs=1e-12)
            both = (one != 0) & (two != 0)
            expected = (np.sign(one) == np.sign(two))[both].mean() if both.any() else 0.0
            assert result.sign_agreement[i, j] == pytest.approx(expected)


def test_a_zero_vector_is_orthogonal_to_everything():
    assert cosine_of(torch.tensor([[0.0, 0.0], [0.0, 4.0]])).tolist() == [[0.0, 0.0], [0.0, 1.0]]


def test_layers_are_told_from_names():
    assert layer_name("bert.encoder.layer.3.output.adapters.*.x") == "layer 03"
    assert layer_name("base_model.model.model.layers.12.mlp.up_proj.lora_A.weight") == "layer 12"
    assert layer_name("prompt_embeddings") == "other"


def test_inner_products_of_lora_updates_do_not_form_them_and_are_exact(tmp_path):
    adapters = [
        read_adapter(save_peft(tmp_path / f"s{seed}", kind, seed)) for seed, kind in ((1, "lora"), (2, "rslora"))
    ]
    gram = delta_gram(adapters)

    rows = []
    for adapter in adapters:
        updates = [
            (lora_update(adapter, m).dense().double() * m.scaling).flatten()
            for _, m in sorted(lora_modules(adapter).items())
        ]
        rows.append(torch.cat(updates))
    expected = torch.stack(rows) @ torch.stack(rows).T
    torch.testing.assert_close(gram, expected, rtol=1e-6, atol=1e-8)


def test_the_kernel_density_is_that_of_the_definition_and_integrates_to_one():
    values = np.concatenate(
        [np.random.default_rng(0).normal(size=400), np.random.default_rng(1).laplace(size=300) * 0.2]
    )
    tensor = torch.from_numpy(values)
    density = kernel_density(lambda: tensor.split(97))
    grid, h = density.grid.numpy(), density.bandwidth
    direct = np.exp(-0.5 * ((grid[:, None] - values[None]) / h) ** 2).sum(axis=1) / (
        len(values) * h * np.sqrt(2 * np.pi)
    )
    assert np.abs(density.values.numpy() - direct).max() < 2e-3 * direct.max()
    assert np.trapezoid(density.values.numpy(), grid) == pytest.approx(1.0, abs=1e-3)


def test_a_density_of_equal_values_or_of_none_does_not_divide_by_zero():
    assert torch.isfinite(kernel_density(lambda: [torch.ones(5)]).values).all()
    with pytest.raises(InputError, match="no values"):
        kernel_density(lambda: [torch.ones(0)])


def test_trimming_keeps_the_share_of_the_norm_that_numpy_finds():
    vectors = [state(1), state(2)]
    for effect in trimming_effect(vectors, [0.1, 0.5, 1.0]):
        kept = []
        for vector in vectors:
            row = flat(vector).astype(np.float32)
            keep = int(effect.density * len(row))
            smallest = np.sort(np.abs(row))[::-1][keep - 1]
            kept.append(np.where(np.abs(row) >= smallest, row, 0.0))
            share = (kept[-1].astype(np.float64) ** 2).sum() / (row.astype(np.float64) ** 2).sum()
            assert effect.norm_kept[len(kept) - 1] == pytest.approx(share, rel=1e-6)
        both = (kept[0] != 0) & (kept[1] != 0)
        conflicts = (np.sign(kept[0]) != np.sign(kept[1]))[both].mean() if both.any() else 0.0
        assert effect.conflicts == pytest.approx(conflicts)


def test_vectors_of_different_layouts_are_refused():
    with pytest.raises(InputError, match="in en but not in pt"):
        agreement([state(1), {"x": torch.ones(2)}], ["en", "pt"])
