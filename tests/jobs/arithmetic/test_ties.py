"""TIES against a numpy derivation of the published procedure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.arithmetic.ties import magnitude_threshold, plan_ties, ties, ties_tensor, trimmed
from jobs.errors import InputError


def ties_numpy(base: np.ndarray, sources: list[np.ndarray], density: float, scale: float) -> np.ndarray:
    """Flattened task vectors: trim, elect (zeros take the majority), disjoint mean, scale."""
    taus = np.stack([source - base for source in sources])
    keep = int(density * taus.shape[1])
    for tau in taus:
        smallest = np.sort(np.abs(tau))[::-1][keep - 1] if keep else np.inf
        tau[np.abs(tau) < smallest] = 0.0
    signs = np.sign(taus.sum(axis=0))
    signs[signs == 0] = np.sign(signs.sum())
    rows = np.where(signs > 0, taus > 0, taus < 0)
    chosen = taus * rows
    mean = chosen.sum(axis=0) / np.maximum((chosen != 0).sum(axis=0), 1)
    return base + scale * mean


def split(vector: np.ndarray) -> dict[str, torch.Tensor]:
    return {"a": torch.from_numpy(vector[:30].reshape(5, 6).copy()), "b": torch.from_numpy(vector[30:].copy())}


def joined(state: dict[str, torch.Tensor]) -> np.ndarray:
    return np.concatenate([state["a"].numpy().ravel(), state["b"].numpy().ravel()])


@pytest.mark.parametrize("density", [0.2, 0.8, 1.0, 0.05])
@pytest.mark.parametrize("scale", [1.0, 0.8, 1.8])
def test_ties_equals_its_published_procedure_over_all_tensors_at_once(density, scale):
    rng = np.random.default_rng(int(density * 100))
    base = rng.normal(size=71).astype(np.float32)
    sources = [(base + rng.normal(size=71)).astype(np.float32) for _ in range(3)]
    merged = ties(split(base), [split(source) for source in sources], density, scale)
    np.testing.assert_allclose(joined(merged), ties_numpy(base, sources, density, scale), rtol=1e-5, atol=1e-5)


def test_ties_that_cancel_take_the_majority_sign():
    base = np.zeros(40, dtype=np.float32)
    one = np.ones(40, dtype=np.float32)
    two = np.ones(40, dtype=np.float32)
    two[3] = -1.0
    merged = joined(ties(split(base), [split(one), split(two)], 1.0, 1.0))
    assert merged[3] == 1.0
    merged = joined(ties(split(base), [split(-one), split(-two)], 1.0, 1.0))
    assert merged[3] == -1.0


def test_without_a_base_the_sources_are_task_vectors():
    rng = np.random.default_rng(0)
    sources = [rng.normal(size=50).astype(np.float32) for _ in range(2)]
    merged = ties(None, [split(source) for source in sources], 0.4, 1.2)
    expected = ties_numpy(np.zeros(50, dtype=np.float32), sources, 0.4, 1.2)
    np.testing.assert_allclose(joined(merged), expected, rtol=1e-5, atol=1e-6)


def test_one_untrimmed_source_comes_back():
    rng = np.random.default_rng(1)
    source = rng.normal(size=44).astype(np.float32)
    merged = ties(split(np.zeros(44, dtype=np.float32)), [split(source)], 1.0, 1.0)
    np.testing.assert_array_equal(joined(merged), source)


def elected_numpy(taus: np.ndarray, weights: list[float], normalize: bool) -> np.ndarray:
    """What mergekit's consensus does with sparse task vectors, entry by entry; zero sums take the majority's sign."""
    sums = [sum(w * tau[i] for w, tau in zip(weights, taus, strict=True)) for i in range(taus.shape[1])]
    majority = np.sign(sum(np.sign(one) for one in sums))
    out = np.zeros(taus.shape[1])
    for i, total in enumerate(sums):
        sign = np.sign(total) or majority
        agree = [(w, w * tau[i]) for w, tau in zip(weights, taus, strict=True) if np.sign(w * tau[i]) == sign]
        if sign and agree:
            shares = sum(w for w, _ in agree)
            out[i] = sum(value for _, value in agree) / ((shares or 1.0) if normalize else 1.0)
    return out


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("weights", [(0.5, 0.3, 0.9), (1.0, -0.4, 0.2)])
def test_each_source_has_its_own_density_and_weight(weights, normalize):
    rng = np.random.default_rng(4)
    sources = [rng.normal(size=64).astype(np.float32) for _ in range(3)]
    densities = [0.25, 0.5, 1.0]
    states = [split(source) for source in sources]
    plan = plan_ties(None, states, ["a", "b"], (densities, weights), normalize)
    merged = joined({name: ties_tensor(None, states, name, plan, 1.1) for name in ("a", "b")})
    taus = np.stack(sources).astype(np.float64)
    for tau, density in zip(taus, densities, strict=True):
        tau[np.abs(tau) < np.sort(np.abs(tau))[::-1][int(density * 64) - 1]] = 0.0
    np.testing.assert_allclose(merged, 1.1 * elected_numpy(taus, list(weights), normalize), rtol=1e-5, atol=1e-6)


def test_weights_of_one_are_ties_as_published():
    rng = np.random.default_rng(5)
    states = [split(rng.normal(size=50).astype(np.float32)) for _ in range(3)]
    plan = plan_ties(None, states, ["a", "b"], ([0.4] * 3, [1.0] * 3))
    plain = ties(None, states, 0.4)
    assert all(torch.equal(plain[name], ties_tensor(None, states, name, plan, 1.0)) for name in plain)
    scaled = plan_ties(None, states, ["a", "b"], ([0.4] * 3, [0.25] * 3))
    np.testing.assert_allclose(joined({n: ties_tensor(None, states, n, scaled, 1.0) for n in plain}), joined(plain))


@given(
    values=st.lists(st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False), min_size=1, max_size=200),
    density=st.floats(0.01, 1.0),
)
@settings(max_examples=200, deadline=None)
def test_the_threshold_is_exactly_the_kth_largest_magnitude(values, density):
    tensor = torch.tensor(values, dtype=torch.float32)
    keep = int(density * len(values))
    threshold = magnitude_threshold(lambda: tensor.split(7), density)
    if keep == 0:
        assert threshold == float("inf")
    else:
        assert threshold == float(tensor.abs().sort(descending=True).values[keep - 1])
    assert int((trimmed(tensor, threshold) != 0).sum()) >= min(keep, int((tensor != 0).sum()))


@given(order=st.permutations(range(4)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_sources_does_not_matter(order):
    rng = np.random.default_rng(3)
    sources = [rng.normal(size=50).astype(np.float32) for _ in range(4)]
    merged = ties(None, [split(source) for source in sources], 0.5, 1.0)
    shuffled = ties(None, [split(sources[index]) for index in order], 0.5, 1.0)
    np.testing.assert_allclose(joined(merged), joined(shuffled), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("density", [0.0, -0.1, 1.1, float("nan")])
def test_a_density_outside_its_range_is_refused(density):
    with pytest.raises(InputError, match="density"):
        ties(None, [{"a": torch.ones(3)}], density)


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="NaN or infinite"):
        ties(None, [{"a": torch.tensor([1.0, float("nan")])}], 0.5)
