"""Sums of low-rank matrices against the dense matrices in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobs.arithmetic.kronecker import whole
from jobs.arithmetic.lowrank import (
    LowRank,
    Truncation,
    concatenated,
    evened,
    padded,
    total_truncation,
    truncated,
)
from jobs.errors import InputError


def pair(seed: int, rank: int, rows: int = 12, columns: int = 9) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    return LowRank(torch.randn(rows, rank, generator=generator), torch.randn(rank, columns, generator=generator))


def dense(terms: list[LowRank], weights: list[float]) -> np.ndarray:
    return sum(
        w * term.up.double().numpy() @ term.down.double().numpy() for w, term in zip(weights, terms, strict=True)
    )


@pytest.mark.parametrize("ranks", [[2], [2, 3], [1, 4, 2], [8, 8]])
def test_concatenation_is_the_exact_sum_and_its_ranks_add_up(ranks):
    terms = [pair(seed, rank) for seed, rank in enumerate(ranks)]
    weights = [0.7, -1.3, 0.2][: len(ranks)]
    total = concatenated(terms, weights)
    assert total.rank == sum(ranks)
    np.testing.assert_allclose(total.dense().numpy(), dense(terms, weights), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rank", [1, 2, 4, 6])
def test_truncation_is_the_best_approximation_and_reports_its_true_error(rank):
    exact = concatenated([pair(1, 4), pair(2, 4)], [1.0, -0.5])
    kept, lost = truncated(exact, rank)
    matrix = exact.dense().numpy()
    values = np.linalg.svd(matrix, compute_uv=False)
    best = np.sqrt((values[rank:] ** 2).sum())
    assert kept.rank == rank
    error = np.linalg.norm(kept.dense().numpy() - matrix)
    np.testing.assert_allclose(error, best, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(lost.relative_error, best / np.linalg.norm(matrix), rtol=1e-9, atol=1e-12)


def test_a_sufficient_rank_loses_nothing_and_is_filled_up():
    exact = concatenated([pair(1, 2), pair(2, 3)], [1.0, 1.0])
    kept, lost = truncated(exact, 7)
    assert kept.rank == 7
    assert lost.relative_error == 0.0
    np.testing.assert_allclose(kept.dense().numpy(), exact.dense().numpy(), rtol=1e-12)


@given(a=st.floats(-2, 2), b=st.floats(-2, 2), rank=st.integers(1, 6))
@example(a=0.0, b=3.0942024061539875e-212, rank=5)  # whose squares underflow
@settings(max_examples=40, deadline=None)
def test_truncation_never_loses_more_than_the_sum_has(a, b, rank):
    kept, lost = truncated(concatenated([pair(1, 3), pair(2, 3)], [a, b]), rank)
    assert 0.0 <= lost.lost <= lost.norm * (1 + 1e-9)
    assert torch.isfinite(kept.dense()).all()


def test_an_adapter_minus_itself_is_zero():
    term = pair(1, 4)
    kept, _ = truncated(concatenated([term, term], [1.0, -1.0]), 2)
    assert float(kept.dense().abs().max()) < 1e-12


@pytest.mark.parametrize("shape", [(5, 11), (11, 5)])
def test_a_dense_matrix_is_truncated_like_its_svd(shape):
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    kept, lost = truncated(whole(matrix.double()), 2)
    u, s, vh = np.linalg.svd(matrix.numpy(), full_matrices=False)
    np.testing.assert_allclose(kept.dense().numpy(), (u[:, :2] * s[:2]) @ vh[:2], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(lost.lost, np.sqrt((s[2:] ** 2).sum()))


def test_the_total_truncation_adds_squares():
    total = total_truncation([Truncation(3.0, 1.0), Truncation(4.0, 2.0)])
    assert total.norm == 5.0
    assert total.lost == pytest.approx(5**0.5)
    assert Truncation(0.0, 0.0).relative_error == 0.0


def test_deltas_of_different_shapes_are_refused():
    with pytest.raises(InputError, match=r"source 0 and source 1 .*\[12, 9\] and \[12, 8\]"):
        concatenated([pair(1, 2), pair(2, 2, columns=8)], [1.0, 1.0])
    with pytest.raises(InputError, match="positive"):
        truncated(pair(1, 2), 0)


def test_padding_does_not_change_the_matrix():
    term = pair(1, 2)
    np.testing.assert_array_equal(padded(term, 5).dense().numpy(), term.dense().numpy())


@pytest.mark.parametrize("weight", [1e-12, 3e-4, 1.0, -7e8])
def test_even_factors_are_the_same_matrix_of_like_magnitudes(weight):
    exact = pair(1, 4)
    exact = LowRank((exact.up * weight).float(), exact.down)
    exact.up[:, 2] = 0.0
    even = evened(exact)
    torch.testing.assert_close(even.dense(), exact.dense(), rtol=1e-6, atol=0.0)
    for column in (0, 1, 3):
        ratio = float(even.up[:, column].abs().max() / even.down[column].abs().max())
        assert 0.5 <= ratio <= 2.0
        # Powers of two: the mantissas stay.
        assert torch.equal(torch.frexp(even.up[:, column])[0], torch.frexp(exact.up[:, column])[0])
    assert torch.equal(even.down[2], exact.down[2])
