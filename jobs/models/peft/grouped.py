"""What LoRA, (IA)3 and LoKr compute, for G adapters at once.

A batch of G groups has rows [G * B, ...], group after group. Tensors of the adapters are stacked, [G, ...], and the
rows of group g meet the tensors of adapter g alone. Tensors are cast to the dtype of the activations.
"""

from __future__ import annotations

import torch
from torch import Tensor


def lora(output: Tensor, x: Tensor, down: Tensor, up: Tensor, scaling: float) -> Tensor:
    """Output + scaling * up down x: output [R, ..., m], x [R, ..., n], down [G, r, n], up [G, m, r]."""
    hidden = torch.bmm(_grouped(x, len(down)), down.to(x.dtype).mT)
    total = torch.baddbmm(_grouped(output, len(up)), hidden.to(output.dtype), up.to(output.dtype).mT, alpha=scaling)
    return total.view(output.shape)


def scaled(x: Tensor, factors: Tensor) -> Tensor:
    """X [R, ..., n] times the factors [G, n] of each row's group."""
    return (_grouped(x, len(factors)) * factors.to(x.dtype)[:, None]).view(x.shape)


def kronecker(output: Tensor, x: Tensor, first: Tensor, second: Tensor, scaling: float) -> Tensor:
    """Output + scaling * (first kron second) x, without forming the product.

    output [R, ..., a * c], x [R, ..., b * d], first [G, a, b], second [G, c, d]: with x as a matrix X [b, d], the
    product is first X second^T.
    """
    groups, _, columns = first.shape
    parts = x.reshape(groups, -1, second.shape[2])
    right = torch.bmm(parts, second.to(x.dtype).mT).view(groups, -1, columns, second.shape[1])
    product = torch.einsum("gab,gnbc->gnac", first.to(x.dtype) * scaling, right)
    return output + product.reshape(output.shape).to(output.dtype)


def _grouped(x: Tensor, groups: int) -> Tensor:
    return x.reshape(groups, -1, x.shape[-1])
