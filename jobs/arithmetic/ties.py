"""TIES merging (Yadav et al. 2023, arXiv 2306.01708), as language arithmetic compares against (appendix E).

tau_i = theta_i - theta_pre over all tensors at once; trim each to its `density` largest magnitudes; elect one sign
per parameter, that of the sum over sources (where the sum is zero: the sign that most parameters have); average
the trimmed values that agree with it; theta = theta_pre + lambda * tau. With a weight for each source, as mergekit has
them, signs are elected by the weighted sum, and the average is by weight.
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
class Election:
    """Who counts how much where signs are elected, and the sign of an entry whose weighted sum is zero.

    `normalize`: what agrees is averaged (the disjoint mean, by weight); without it, added up, as mergekit's DARE-TIES.
    """

    weights: tuple[float, ...]
    majority: float
    normalize: bool = True

    def merged(self, stacked: Tensor) -> Tensor:
        """Of the sources' values [n, ...] those whose weighted sign is the elected one, averaged or added up [...]."""
        weighted = _weighted(stacked, self.weights)
        elected = weighted.sum(dim=0).sign()
        elected[elected == 0] = self.majority
        agrees = weighted.sign() == elected
        total = torch.where(agrees, weighted, torch.zeros((), dtype=weighted.dtype)).sum(dim=0)
        if not self.normalize:
            return total
        shares = _weighted(agrees.to(weighted.dtype), self.weights).sum(dim=0)
        return total / torch.where(shares == 0, torch.ones((), dtype=shares.dtype), shares)


def elect(stacks: Iterable[Tensor], weights: Sequence[float], normalize: bool = True) -> Election:
    """The election after one pass over `stacks`, the sources' values [n, ...] of every tensor."""
    signs = sum(int(_weighted(stacked, weights).sum(dim=0).sign().sum()) for stacked in stacks)
    return Election(tuple(weights), float((signs > 0) - (signs < 0)), normalize)


def _weighted(stacked: Tensor, weights: Sequence[float]) -> Tensor:
    return stacked * torch.tensor(weights, dtype=stacked.dtype).reshape(-1, *[1] * (stacked.dim() - 1))


@dataclass(frozen=True, slots=True)
class TiesPlan:
    """What must be known of all tensors before the first can be merged."""

    thresholds: tuple[float, ...]
    election: Election


def plan_ties(
    base: State | None,
    sources: Sequence[State],
    names: Sequence[str],
    kept: tuple[Sequence[float], Sequence[float]],
    normalize: bool = True,
) -> TiesPlan:
    """Thresholds of each source and the majority sign, tensor by tensor; raises InputError for NaN or infinity.

    `kept`: the density and the weight of each source.
    """
    densities, weights = kept
    thresholds = []
    for source, density in zip(sources, densities, strict=True):
        for name in names:
            all_finite(source[name], name)

        def chunks(source: State = source) -> Iterable[Tensor]:
            return (vector(source, base, name) for name in names)

        thresholds.append(magnitude_threshold(chunks, density))
    stacks = (_stack(base, sources, name, thresholds) for name in names)
    return TiesPlan(tuple(thresholds), elect(stacks, weights, normalize))


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
    return on_base(base, sources, name, plan.election.merged(stacked) * scale)


def on_base(base: State | None, sources: Sequence[State], name: str, tau: Tensor) -> Tensor:
    """`theta_pre + tau` in the sources' dtype. Raises InputError for NaN or infinity in a source or the result."""
    merged = tau if base is None else base[name].to(tau.dtype) + tau
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
    plan = plan_ties(base, sources, names, ([density] * len(sources), [1.0] * len(sources)))
    return {name: ties_tensor(base, sources, name, plan, scale) for name in names}
