"""TIES merging (Yadav et al. 2023, arXiv 2306.01708), as language arithmetic compares against (appendix E).

tau_i = theta_i - theta_pre over all tensors at once; trim each to its `density` largest magnitudes; elect one sign
per parameter, that of the sum over sources (where the sum is zero: the sign that most parameters have); average
the trimmed values that agree with it; theta = theta_pre + lambda * tau.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jobs.arithmetic.checks import all_finite, checked_share, same_layout, source_labels
from jobs.arithmetic.weighted_sum import accumulation_dtype, refuse_non_finite
from jobs.errors import Fault, InputError

State = Mapping[str, Tensor]
_LOW_BITS = 15


def magnitude_threshold(chunks: Callable[[], Iterable[Tensor]], density: float) -> float:
    """The smallest magnitude among the `int(density * n)` largest of all values in `chunks()`; inf keeps none.

    Exact, in two passes that hold one chunk at a time: the bits of a non-negative float32 order as it does, so a
    histogram of the upper 16 bits finds the bucket and one of the lower 15 the value. Values of other dtypes are
    taken as float32. Entries equal to the threshold are all kept: no arbitrary choice among equals.
    """
    checked_share(density, "density")
    upper = torch.zeros(1 << 16, dtype=torch.int64)
    for chunk in chunks():
        upper += torch.bincount(_bits(chunk) >> _LOW_BITS, minlength=1 << 16)
    keep = int(density * int(upper.sum()))
    if keep == 0:
        return float("inf")
    bucket, rest = _from_the_top(upper, keep)
    lower = torch.zeros(1 << _LOW_BITS, dtype=torch.int64)
    for chunk in chunks():
        bits = _bits(chunk)
        lower += torch.bincount(bits[bits >> _LOW_BITS == bucket] & ((1 << _LOW_BITS) - 1), minlength=1 << _LOW_BITS)
    value, _ = _from_the_top(lower, rest)
    return float(torch.tensor([(bucket << _LOW_BITS) | value], dtype=torch.int32).view(torch.float32))


def _bits(chunk: Tensor) -> Tensor:
    return chunk.reshape(-1).float().abs().view(torch.int32)


def _from_the_top(histogram: Tensor, keep: int) -> tuple[int, int]:
    """The bucket with the `keep`-th largest entry, and which one, from the top, it is inside that bucket."""
    above = histogram.flip(0).cumsum(0)
    position = int(torch.searchsorted(above, keep))
    before = int(above[position - 1]) if position else 0
    return len(histogram) - 1 - position, keep - before


def trimmed(tau: Tensor, threshold: float) -> Tensor:
    """`tau` with every value of a magnitude under `threshold` set to zero."""
    return torch.where(tau.abs() >= threshold, tau, torch.zeros((), dtype=tau.dtype))


@dataclass(frozen=True, slots=True)
class TiesPlan:
    """What must be known of all tensors before the first can be merged."""

    thresholds: tuple[float, ...]
    majority: float


def plan_ties(base: State | None, sources: Sequence[State], names: Sequence[str], density: float) -> TiesPlan:
    """Thresholds of each source and the majority sign, tensor by tensor; raises InputError for NaN or infinity."""
    thresholds = []
    for source in sources:
        for name in names:
            all_finite(source[name], name)

        def chunks(source: State = source) -> Iterable[Tensor]:
            return (vector(source, base, name) for name in names)

        thresholds.append(magnitude_threshold(chunks, density))
    signs = 0
    for name in names:
        signs += int(_stack(base, sources, name, thresholds).sum(dim=0).sign().sum())
    return TiesPlan(tuple(thresholds), float((signs > 0) - (signs < 0)))


def vector(source: State, base: State | None, name: str) -> Tensor:
    """`theta - theta_pre` of one tensor in float32 or float64; without base the source itself."""
    tensor = source[name]
    wide = tensor.to(accumulation_dtype(tensor.dtype))
    return wide if base is None else wide - base[name].to(wide.dtype)


def _stack(base: State | None, sources: Sequence[State], name: str, thresholds: Sequence[float]) -> Tensor:
    return torch.stack(
        [trimmed(vector(source, base, name), threshold) for source, threshold in zip(sources, thresholds, strict=True)]
    )


def ties_tensor(base: State | None, sources: Sequence[State], name: str, plan: TiesPlan, scale: float) -> Tensor:
    """One merged tensor: `theta_pre + scale * disjoint mean`, in the sources' dtype."""
    stacked = _stack(base, sources, name, plan.thresholds)
    elected = stacked.sum(dim=0).sign()
    elected[elected == 0] = plan.majority
    agreeing = torch.where(stacked.sign() == elected, stacked, torch.zeros((), dtype=stacked.dtype))
    mean = agreeing.sum(dim=0) / (agreeing != 0).sum(dim=0).clamp(min=1)
    merged = mean * scale if base is None else base[name].to(mean.dtype) + mean * scale
    result = merged.to(sources[0][name].dtype)
    if not torch.isfinite(result).all():
        refuse_non_finite([*(source[name] for source in sources), result], name)
    return result


def ties(base: State | None, sources: Sequence[State], density: float = 0.2, scale: float = 1.0) -> dict[str, Tensor]:
    """TIES over all tensors together: `density` is the share kept (0.2 and 0.8 in the paper), `scale` its lambda.

    `base` None means that the sources are task vectors already. All values equal to the smallest one kept are
    kept; the reference implementation keeps one value more than `int(density * n)`. Raises InputError when layouts
    differ, for NaN or infinity, and for a density outside (0, 1].
    """
    if not sources:
        raise InputError(Fault("no sources", todo="give at least one"))
    labels = source_labels(len(sources))
    states = sources if base is None else [*sources, base]
    names = list(same_layout(states, labels if base is None else [*labels, "base"]))
    plan = plan_ties(base, sources, names, density)
    return {name: ties_tensor(base, sources, name, plan, scale) for name in names}
