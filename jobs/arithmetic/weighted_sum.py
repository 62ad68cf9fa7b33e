"""The weighted sum under every linear rule: one pass, chunk by chunk, in float32 or better."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jobs.errors import Fault, InputError

# Elements worked on at a time: the chunk of the output then stays in the cache while the sources stream by.
CHUNK = 1 << 18

_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 for float64; float32 for every other float. Raises InputError for others, float8 among them."""
    if dtype not in _FLOATS:
        got, todo = str(dtype).removeprefix("torch."), "convert to float32, bfloat16 or float16"
        raise InputError(Fault("tensors of this dtype cannot be combined", got=got, todo=todo))
    return torch.float64 if dtype == torch.float64 else torch.float32


def weighted_sum(tensors: Sequence[Tensor], weights: Sequence[float], name: str = "") -> Tensor:
    """`sum_i weights[i] * tensors[i]`, summed in order, rounded to the tensors' dtype once at the end.

    All tensors have one shape and one floating dtype (the caller has checked). Raises InputError, naming `name`,
    when a source or the result holds NaN or infinity.
    """
    out = torch.empty(tensors[0].shape, dtype=tensors[0].dtype)
    if not weighted_sum_into(out, tensors, weights):
        refuse_non_finite([*tensors, out], name)
    return out


def weighted_sum_into(out: Tensor, tensors: Sequence[Tensor], weights: Sequence[float]) -> bool:
    """The same into the contiguous `out`, which shares no memory with a source. False: look for NaN or infinity."""
    accumulate = accumulation_dtype(out.dtype)
    width = min(CHUNK, max(out.numel(), 1))
    scratch = None if accumulate == out.dtype else torch.empty(2, width, dtype=accumulate)
    first_weight = torch.tensor(weights[0], dtype=accumulate)
    sources = [torch.split(tensor.reshape(-1), CHUNK) for tensor in tensors]
    for index, chunk in enumerate(torch.split(out.view(-1), CHUNK)):
        parts = [source[index] for source in sources]
        if scratch is None:
            sum_into(chunk, parts, first_weight, weights)
        else:
            widened_sum_into(chunk, parts, first_weight, weights, scratch)
    # A sum is finite unless an element is not, or the sum itself overflows. float16 overflows early; bfloat16 has
    # float32's range and sums fastest as it is.
    return bool(torch.isfinite(out.sum(dtype=torch.float32 if out.dtype == torch.float16 else out.dtype)))


def sum_into(out: Tensor, parts: Sequence[Tensor], first_weight: Tensor, weights: Sequence[float]) -> None:
    """`out = sum_i weights[i] * parts[i]`, all of one dtype, allocating nothing; `first_weight` is weights[0]."""
    torch.mul(parts[0], first_weight, out=out)
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        out.add_(part, alpha=weight)


def widened_sum_into(
    out: Tensor, parts: Sequence[Tensor], first_weight: Tensor, weights: Sequence[float], scratch: Tensor
) -> None:
    """The same for narrow sources: summed in `scratch` [2, at least out.numel()], rounded once into `out`."""
    total, widened = scratch[0, : out.numel()], scratch[1, : out.numel()]
    total.copy_(parts[0]).mul_(first_weight)
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        total.add_(widened.copy_(part), alpha=weight)
    out.copy_(total)


def refuse_non_finite(tensors: Sequence[Tensor], name: str) -> None:
    """Raise InputError for the first tensor with NaN or infinity; the last tensor is the result of the others.

    Returns when all are finite.
    """
    for index, tensor in enumerate(tensors):
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            last = index == len(tensors) - 1 and len(tensors) > 1
            what = f"the result overflows {tensor.dtype}" if last else f"source {index} has NaN or infinite values"
            raise InputError(Fault(what, name, f"{bad} of {tensor.numel()} values"))
