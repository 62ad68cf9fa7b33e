"""Spherical linear interpolation (Shoemake 1985) between two adapters, tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from jobs.arithmetic.checks import all_finite, same_layout
from jobs.arithmetic.weighted_sum import accumulation_dtype
from jobs.errors import Fault, InputError

State = Mapping[str, Tensor]
# Below this angle (radians) the arc is a straight line to float32 precision; this close to pi it is undefined.
_SMALL_ANGLE = 1e-4


def slerp(first: State, second: State, t: float) -> dict[str, Tensor]:
    """`sin((1-t)w)/sin(w) * first + sin(tw)/sin(w) * second`, w the angle between the two flattened tensors.

    Parallel tensors are interpolated linearly, as the limit demands; when one of the two is zero there is no angle
    and the straight line is taken too. Raises InputError for opposite tensors, where no arc is distinguished, and
    for t outside [0, 1], differing layouts, NaN or infinity.
    """
    if not 0.0 <= t <= 1.0:
        raise InputError(Fault("t of slerp must lie in [0, 1]", got=str(t)))
    names = same_layout([first, second], ["first", "second"])
    return {name: slerp_tensor(first[name], second[name], t, name) for name in names}


def slerp_tensor(first: Tensor, second: Tensor, t: float, name: str = "") -> Tensor:
    """The same for one tensor; computed in float64 for the angle, float32 or float64 for the sum."""
    all_finite(first, name)
    all_finite(second, name)
    weight_first, weight_second = _weights(first.double().flatten(), second.double().flatten(), t, name)
    wide = first.to(accumulation_dtype(first.dtype)) * weight_first
    return wide.add_(second.to(wide.dtype), alpha=weight_second).to(first.dtype)


def _weights(first: Tensor, second: Tensor, t: float, name: str) -> tuple[float, float]:
    norms = first.norm() * second.norm()
    if norms == 0:
        return 1.0 - t, t
    angle = torch.arccos((first @ second / norms).clamp(-1.0, 1.0))
    if angle < _SMALL_ANGLE:
        return 1.0 - t, t
    if torch.pi - angle < _SMALL_ANGLE:
        raise InputError(Fault("opposite tensors: the arc between them is undefined", name, todo="use linear"))
    sine = torch.sin(angle)
    return float(torch.sin((1.0 - t) * angle) / sine), float(torch.sin(t * angle) / sine)
