"""Sums of low-rank matrices without ever forming them: concatenation, and truncation by QR and a small SVD."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jobs.errors import Fault, InputError


@dataclass(frozen=True, slots=True)
class LowRank:
    """The matrix `up @ down`: `up` [rows, rank], `down` [rank, columns] (LoRA's B and A)."""

    up: Tensor
    down: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.up.shape[0], self.down.shape[1]

    @property
    def rank(self) -> int:
        """The inner dimension, an upper bound of the matrix's rank."""
        return int(self.down.shape[0])

    def dense(self) -> Tensor:
        """The full matrix [rows, columns] in the factors' dtype."""
        return self.up @ self.down


@dataclass(frozen=True, slots=True)
class Truncation:
    """What a truncation lost: Frobenius norms of the exact sum and of the part that was cut away."""

    norm: float
    lost: float

    @property
    def relative_error(self) -> float:
        """`lost / norm`; 0 for a zero matrix."""
        return self.lost / self.norm if self.norm else 0.0


def concatenated(terms: Sequence[LowRank], weights: Sequence[float], dtype: torch.dtype = torch.float64) -> LowRank:
    """`sum_i weights[i] * up_i @ down_i`, exactly, as one pair of factors whose ranks have added up.

    Weights go to `up`; the factors come in `dtype`. Raises InputError when rows or columns differ between terms.
    """
    if not terms:
        raise InputError(Fault("no terms to add up", todo="give at least one"))
    for index, term in enumerate(terms):
        if term.shape != terms[0].shape:
            got = f"{list(terms[0].shape)} and {list(term.shape)}"
            raise InputError(Fault(f"source 0 and source {index} have deltas of different shapes", got=got))
    ups = [term.up.to(dtype) * weight for term, weight in zip(terms, weights, strict=True)]
    return LowRank(torch.cat(ups, dim=1), torch.cat([term.down.to(dtype) for term in terms], dim=0))


def truncated(exact: LowRank, rank: int) -> tuple[LowRank, Truncation]:
    """The best approximation of rank `rank` in the Frobenius norm (Eckart and Young 1936), and what it loses.

    `up = Q_u R_u`, `down.T = Q_d R_d`, SVD of the small core `R_u R_d.T`: the cost is linear in rows and columns.
    Singular values are shared out evenly between the factors. When `rank` is at least the inner dimension the
    factors are returned as they are, padded with zeros to `rank`. Computed in float64; norms do not underflow.
    """
    if rank < 1:
        raise InputError(Fault("a rank must be positive", got=str(rank)))
    left, left_core = torch.linalg.qr(exact.up.double())
    right, right_core = torch.linalg.qr(exact.down.double().T)
    u, values, vh = torch.linalg.svd(left_core @ right_core.T, full_matrices=False)
    norm = math.hypot(*values.tolist())
    if exact.rank <= rank:
        return padded(exact, rank), Truncation(norm, 0.0)
    root = values[:rank].sqrt()
    kept = LowRank(left @ (u[:, :rank] * root), (root[:, None] * vh[:rank]) @ right.T)
    return padded(kept, rank), Truncation(norm, math.hypot(*values[rank:].tolist()))


def padded(factors: LowRank, rank: int) -> LowRank:
    """The same matrix with the inner dimension filled up to `rank` by zeros; unchanged when it has as many."""
    missing = rank - factors.rank
    if missing <= 0:
        return factors
    up, down = factors.up, factors.down
    zeros_up, zeros_down = up.new_zeros(up.shape[0], missing), down.new_zeros(missing, down.shape[1])
    return LowRank(torch.cat([up, zeros_up], dim=1), torch.cat([down, zeros_down], dim=0))


def evened(factors: LowRank) -> LowRank:
    """The same matrix, bit for bit in its products, with factors of like magnitudes, rank by rank.

    Each column of `up` and its row of `down` trade a power of two, so that neither leaves the range of a narrow dtype
    as long as their products' roots lie in it. Both must be of one wider dtype; values must be finite.
    """
    wide, long = factors.up.abs().amax(dim=0), factors.down.abs().amax(dim=1)
    traded = torch.where((wide > 0) & (long > 0), (long.double() / wide.double()).log2().div(2).round(), 0.0)
    scale = torch.exp2(traded).to(factors.up.dtype)
    return LowRank(factors.up * scale, factors.down / scale[:, None])


def total_truncation(parts: Sequence[Truncation]) -> Truncation:
    """The truncation of all modules together: squared Frobenius norms add up."""
    return Truncation(math.hypot(*(part.norm for part in parts)), math.hypot(*(part.lost for part in parts)))
