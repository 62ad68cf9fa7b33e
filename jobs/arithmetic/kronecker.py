"""Kronecker adapters, `delta W = scaling * kron(left, right)`: exact sums as LoRA, nearest Kronecker products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jobs.arithmetic.lowrank import LowRank, Truncation, concatenated, truncated


@dataclass(frozen=True, slots=True)
class Kronecker:
    """`kron(left, right)`, each factor given as a product of two matrices (one of them may be an identity)."""

    left: LowRank
    right: LowRank

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the product."""
        return self.left.shape[0] * self.right.shape[0], self.left.shape[1] * self.right.shape[1]

    def dense(self) -> Tensor:
        """The full matrix, in float64."""
        return torch.kron(self.left.dense().double().contiguous(), self.right.dense().double().contiguous())


def whole(matrix: Tensor) -> LowRank:
    """A matrix as a product with an identity on its shorter side: exact, nothing is computed."""
    rows, columns = matrix.shape
    if columns <= rows:
        return LowRank(matrix, torch.eye(columns, dtype=matrix.dtype))
    return LowRank(torch.eye(rows, dtype=matrix.dtype), matrix)


def as_low_rank(product: Kronecker) -> LowRank:
    """`kron(a b, c d) = kron(a, c) kron(b, d)`: the Kronecker product as LoRA factors, in float64."""
    up = torch.kron(product.left.up.double().contiguous(), product.right.up.double().contiguous())
    down = torch.kron(product.left.down.double().contiguous(), product.right.down.double().contiguous())
    return LowRank(up, down)


def kronecker_sum(terms: Sequence[Kronecker], weights: Sequence[float]) -> LowRank:
    """`sum_i weights[i] * kron_i` exactly, as LoRA factors.

    The ranks add up; once they exceed the shorter side of the matrix, the matrix itself (times an identity) is the
    smaller exact form and is what is returned.
    """
    factors = [as_low_rank(term) for term in terms]
    if sum(factor.rank for factor in factors) <= min(factors[0].shape):
        return concatenated(factors, weights)
    total = torch.zeros(factors[0].shape, dtype=torch.float64)
    for term, weight in zip(terms, weights, strict=True):
        total.add_(term.dense(), alpha=weight)
    return whole(total)


def nearest_kronecker(terms: Sequence[Kronecker], weights: Sequence[float]) -> tuple[Tensor, Tensor, Truncation]:
    """The single product `kron(left, right)` nearest to `sum_i weights[i] * kron_i`, and what it loses.

    Van Loan and Pitsianis 1993: rearranged, each Kronecker product is the rank-one matrix vec(left) vec(right)^T,
    so the nearest product is a rank-one truncation, and the Frobenius error is the same in both arrangements.
    """
    rearranged = [LowRank(term.left.dense().reshape(-1, 1), term.right.dense().reshape(1, -1)) for term in terms]
    best, lost = truncated(concatenated(rearranged, weights), 1)
    return best.up.reshape(terms[0].left.shape), best.down.reshape(terms[0].right.shape), lost
