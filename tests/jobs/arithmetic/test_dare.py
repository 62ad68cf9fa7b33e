"""DARE: masks that are random but reproducible, rescaled so that the mean is kept."""

from __future__ import annotations

import pytest
import torch

from jobs.arithmetic.combine import base_weights, linear
from jobs.arithmetic.dare import dare, keep_mask
from jobs.errors import InputError


def state(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"a": torch.randn(40, 50, generator=generator), "b": torch.randn(30, generator=generator)}


def test_every_entry_is_the_base_plus_kept_rescaled_differences():
    base, one, two = state(0), state(1), state(2)
    merged = dare(base, [one, two], [0.7, -0.4], 0.3, seed=5)
    for name in base:
        expected = base[name].clone()
        for index, (source, weight) in enumerate(((one, 0.7), (two, -0.4))):
            mask = keep_mask(tuple(base[name].shape), 0.3, f"5:{index}:{name}")
            expected += weight * mask * (source[name] - base[name]) / 0.3
        torch.testing.assert_close(merged[name], expected)


def test_density_one_is_task_arithmetic():
    base, one, two = state(0), state(1), state(2)
    merged = dare(base, [one, two], [0.7, -0.4], 1.0, seed=0)
    plain = linear([base, one, two], base_weights([0.7, -0.4]))
    for name in base:
        torch.testing.assert_close(merged[name], plain[name])


def test_the_share_kept_is_near_the_density_and_the_mean_is_kept():
    ones = {"w": torch.ones(400, 500)}
    merged = dare(None, [ones], [1.0], 0.25, seed=1)["w"]
    assert abs(float((merged != 0).float().mean()) - 0.25) < 0.01
    assert abs(float(merged.mean()) - 1.0) < 0.03


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    sources = [state(1), state(2)]
    one, again = (dare(None, sources, [1.0, 1.0], 0.5, seed=3) for _ in range(2))
    other = dare(None, sources, [1.0, 1.0], 0.5, seed=4)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["a"], other["a"])


def test_the_mask_of_a_tensor_does_not_depend_on_other_tensors():
    whole = dare(None, [state(1)], [1.0], 0.5, seed=3)
    part = dare(None, [{"b": state(1)["b"]}], [1.0], 0.5, seed=3)
    assert torch.equal(whole["b"], part["b"])


def test_a_density_of_zero_is_refused():
    with pytest.raises(InputError, match="density"):
        dare(None, [state(1)], [1.0], 0.0, seed=0)
