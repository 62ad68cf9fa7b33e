"""DARE (Yu et al. 2024, arXiv 2311.03099): drop random entries of every task vector, rescale the rest, add up.

DARE-TIES, as mergekit defines it, elects a sign for every entry of what is left, by the weighted sum over the sources
as TIES does (arXiv 2306.01708), and adds up the weighted values that agree with it. Two things differ from mergekit:
an entry whose sum is zero takes the majority's sign, as in TIES, and not plus; masks belong to seed, source and tensor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jobs.arithmetic.checks import all_finite, checked_share, checked_weights, same_layout, source_labels
from jobs.arithmetic.ties import Election, elect, vector
from jobs.arithmetic.weighted_sum import refuse_non_finite
from jobs.errors import Fault, InputError

State = Mapping[str, Tensor]


def dare(
    base: State | None, sources: Sequence[State], weights: Sequence[float], density: float, seed: int
) -> dict[str, Tensor]:
    """`theta_pre + sum_i w_i * mask_i * (theta_i - theta_pre) / density`; each mask keeps a value with `density`.

    The mask of a tensor depends on `seed`, the source's position and the tensor's name, not on other tensors.
    `base` None means that the sources are task vectors already. Raises InputError as `combine.linear` does.
    """
    if not sources:
        raise InputError(Fault("no sources", todo="give at least one"))
    factors = checked_weights(weights, len(sources))
    checked_share(density, "density")
    labels = source_labels(len(sources))
    states = sources if base is None else [*sources, base]
    names = same_layout(states, labels if base is None else [*labels, "base"])
    settings = Drops(tuple(factors), (density,) * len(sources), seed)
    return {name: dare_tensor(base, sources, name, settings) for name in names}


@dataclass(frozen=True, slots=True)
class Drops:
    """The weight and the density of each source, and the seed of all masks."""

    weights: tuple[float, ...]
    densities: tuple[float, ...]
    seed: int


def dare_tensor(base: State | None, sources: Sequence[State], name: str, drops: Drops) -> Tensor:
    """One merged tensor in the sources' dtype."""
    like = sources[0][name]
    total = vector(sources[0], None, name).new_zeros(like.shape) if base is None else vector(base, None, name).clone()
    for index, (source, weight) in enumerate(zip(sources, drops.weights, strict=True)):
        total.add_(_kept(base, source, name, index, drops), alpha=weight / drops.densities[index])
    result = total.to(like.dtype)
    if not torch.isfinite(result).all():
        refuse_non_finite([*(source[name] for source in sources), result], name)
    return result


def _kept(base: State | None, source: State, name: str, index: int, drops: Drops) -> Tensor:
    """The task vector of one source with zeros for what is dropped, not rescaled."""
    tau = vector(source, base, name)
    return tau * keep_mask(tuple(tau.shape), drops.densities[index], f"{drops.seed}:{index}:{name}")


def plan_dare_ties(
    base: State | None, sources: Sequence[State], names: Sequence[str], drops: Drops, normalize: bool = False
) -> Election:
    """How signs are elected, from one pass over all tensors. Raises InputError for NaN or infinity in a source."""
    for source in sources:
        for name in names:
            all_finite(source[name], name)
    return elect((_rescaled(base, sources, name, drops) for name in names), drops.weights, normalize)


def dare_ties_tensor(
    base: State | None, sources: Sequence[State], name: str, drops: Drops, election: Election
) -> Tensor:
    """What one tensor changes: the rescaled values that agree with the elected sign, before any scale or base."""
    return election.merged(_rescaled(base, sources, name, drops))


def _rescaled(base: State | None, sources: Sequence[State], name: str, drops: Drops) -> Tensor:
    taus = [_kept(base, source, name, index, drops) / drops.densities[index] for index, source in enumerate(sources)]
    return torch.stack(taus)


def keep_mask(shape: tuple[int, ...], density: float, key: str) -> Tensor:
    """True with probability `density`, from a random stream that belongs to `key` alone."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little") >> 1
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < density
