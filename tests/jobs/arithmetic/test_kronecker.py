"""Kronecker adapters against dense Kronecker products in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jobs.arithmetic.kronecker import Kronecker, as_low_rank, kronecker_sum, nearest_kronecker, whole
from jobs.arithmetic.lowrank import LowRank


def product(seed: int, left: tuple[int, int] = (3, 2), right: tuple[int, int] = (4, 5)) -> Kronecker:
    generator = torch.Generator().manual_seed(seed)
    return Kronecker(
        whole(torch.randn(left, generator=generator, dtype=torch.float64)),
        whole(torch.randn(right, generator=generator, dtype=torch.float64)),
    )


def numpy_kron(term: Kronecker) -> np.ndarray:
    return np.kron(term.left.dense().numpy(), term.right.dense().numpy())


def factored(seed: int) -> Kronecker:
    generator = torch.Generator().manual_seed(seed)
    left = LowRank(torch.randn(6, 1, generator=generator), torch.randn(1, 8, generator=generator))
    right = LowRank(torch.randn(4, 2, generator=generator), torch.randn(2, 5, generator=generator))
    return Kronecker(left, right)


@pytest.mark.parametrize("make", [product, factored])
def test_a_kronecker_product_as_low_rank_factors_is_exact(make):
    term = make(1)
    np.testing.assert_allclose(as_low_rank(term).dense().numpy(), numpy_kron(term), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("make", [product, factored])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_sum_of_kronecker_products_is_exact_however_many_there_are(make, count):
    terms = [make(seed) for seed in range(count)]
    weights = [0.5, -1.0, 0.25, 2.0, -0.75][:count]
    total = kronecker_sum(terms, weights)
    expected = sum(w * numpy_kron(term) for w, term in zip(weights, terms, strict=True))
    np.testing.assert_allclose(total.dense().numpy(), expected, rtol=1e-6, atol=1e-6)
    assert total.rank <= min(expected.shape)


def test_the_nearest_kronecker_product_of_one_is_itself():
    term = product(1)
    left, right, lost = nearest_kronecker([term], [1.0])
    np.testing.assert_allclose(np.kron(left.numpy(), right.numpy()), numpy_kron(term), rtol=1e-9, atol=1e-12)
    assert lost.relative_error < 1e-12


def test_the_nearest_kronecker_product_is_van_loans_and_its_error_is_true():
    terms, weights = [product(1), product(2), product(3)], [1.0, -0.5, 0.7]
    left, right, lost = nearest_kronecker(terms, weights)
    expected = sum(w * numpy_kron(term) for w, term in zip(weights, terms, strict=True))
    rearranged = sum(
        w * np.outer(t.left.dense().numpy().ravel(), t.right.dense().numpy().ravel())
        for w, t in zip(weights, terms, strict=True)
    )
    values = np.linalg.svd(rearranged, compute_uv=False)
    error = np.linalg.norm(np.kron(left.numpy(), right.numpy()) - expected)
    np.testing.assert_allclose(error, np.sqrt((values[1:] ** 2).sum()), rtol=1e-9)
    np.testing.assert_allclose(lost.relative_error, error / np.linalg.norm(expected), rtol=1e-9)
