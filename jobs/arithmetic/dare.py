"""DARE (Yu et al. 2024, arXiv 2311.03099): drop random entries of every task vector, rescale the rest, add up."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from jobs.arithmetic.checks import checked_share, checked_weights, same_layout, source_labels
from jobs.arithmetic.ties import vector
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
    return {name: dare_tensor(base, sources, name, (factors, density, seed)) for name in names}


def dare_tensor(
    base: State | None, sources: Sequence[State], name: str, options: tuple[Sequence[float], float, int]
) -> Tensor:
    """One merged tensor in the sources' dtype; `options` are weights, density and seed."""
    weights, density, seed = options
    like = sources[0][name]
    total = vector(sources[0], None, name).new_zeros(like.shape) if base is None else vector(base, None, name).clone()
    for index, (source, weight) in enumerate(zip(sources, weights, strict=True)):
        kept = vector(source, base, name) * keep_mask(tuple(like.shape), density, f"{seed}:{index}:{name}")
        total.add_(kept, alpha=weight / density)
    result = total.to(like.dtype)
    if not torch.isfinite(result).all():
        refuse_non_finite([*(source[name] for source in sources), result], name)
    return result


def keep_mask(shape: tuple[int, ...], density: float, key: str) -> Tensor:
    """True with probability `density`, from a random stream that belongs to `key` alone."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little") >> 1
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < density
