"""DARE: masks that are random but reproducible, rescaled so that the mean is kept."""

from __future__ import annotations

import pytest
import torch

from jobs.arithmetic.combine import base_weights, linear
from jobs.arithmetic.dare import Drops, dare, dare_ties_tensor, keep_mask, plan_dare_ties
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


@pytest.mark.parametrize("normalize", [False, True])
def test_dare_ties_adds_up_what_agrees_with_the_elected_sign(normalize):
    base, one, two, three = (state(seed) for seed in range(4))
    sources, weights, densities = [one, two, three], (0.7, 0.3, 0.5), (0.5, 0.8, 0.3)
    drops = Drops(weights, densities, seed=5)
    election = plan_dare_ties(base, sources, ["a", "b"], drops, normalize)
    taus = {}
    for name in ("a", "b"):
        masks = [keep_mask(tuple(one[name].shape), d, f"5:{i}:{name}") for i, d in enumerate(densities)]
        changes = [(s[name] - base[name]).double() * m / d for s, m, d in zip(sources, masks, densities, strict=True)]
        taus[name] = torch.stack(changes).flatten(1).tolist()
    sums = {
        n: [sum(w * v for w, v in zip(weights, c, strict=True)) for c in zip(*t, strict=True)] for n, t in taus.items()
    }
    flat = [value for values in sums.values() for value in values]
    majority = 1 if sum(v > 0 for v in flat) > sum(v < 0 for v in flat) else -1
    for name in ("a", "b"):
        expected = []
        for column, total in zip(zip(*taus[name], strict=True), sums[name], strict=True):
            sign = (total > 0) - (total < 0) or majority
            agree = [(w, w * v) for w, v in zip(weights, column, strict=True) if v * sign > 0]
            share = sum(w for w, _ in agree) or 1.0
            expected.append(sum(v for _, v in agree) / (share if normalize else 1.0))
        merged = dare_ties_tensor(base, sources, name, drops, election)
        torch.testing.assert_close(merged.flatten().double(), torch.tensor(expected).double(), rtol=1e-5, atol=1e-5)


def test_dare_ties_of_one_source_is_dare_and_of_opposite_ones_the_larger():
    one = state(1)
    drops = Drops((1.0,), (0.4,), 9)
    election = plan_dare_ties(None, [one], list(one), drops)
    plain = dare(None, [one], [1.0], 0.4, seed=9)
    for name in one:
        torch.testing.assert_close(dare_ties_tensor(None, [one], name, drops, election), plain[name])
    sources = [{"a": torch.tensor([3.0, -1.0])}, {"a": torch.tensor([-2.0, 4.0])}]
    whole = Drops((1.0, 1.0), (1.0, 1.0), 0)
    assert dare_ties_tensor(None, sources, "a", whole, plan_dare_ties(None, sources, ["a"], whole)).tolist() == [
        3.0,
        4.0,
    ]


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
