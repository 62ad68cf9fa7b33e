"""Prefixes as what the model sees: one matrix [virtual tokens, width] per layer for keys and one for values."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from jobs.errors import Fault, InputError

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
    "gelu_new": partial(torch.nn.functional.gelu, approximate="tanh"),
    "leakyrelu": torch.nn.functional.leaky_relu,
    "swish": torch.nn.functional.silu,
    "silu": torch.nn.functional.silu,
}


def ejected(embedding: Tensor, layers: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]], activation: str) -> Tensor:
    """The flat prefix [virtual tokens * blocks * width] that a reparametrized prefix computes, in float32 or wider.

    `embedding` is [virtual tokens, hidden], `layers` the (weight, bias) pairs of the two linear maps around
    `activation`: `W2 act(W1 e + b1) + b2`. Raises InputError for an activation that is not known.
    """
    function = _ACTIVATIONS.get(activation.lower())
    if function is None:
        known = ", ".join(sorted(_ACTIVATIONS))
        raise InputError(Fault("prefix tuning with an unknown non_linearity", got=activation, todo=f"known: {known}"))
    wide = torch.float64
    (weight_in, bias_in), (weight_out, bias_out) = layers
    hidden = function(embedding.to(wide) @ weight_in.to(wide).T + bias_in.to(wide))
    return (hidden @ weight_out.to(wide).T + bias_out.to(wide)).reshape(-1)


def blocks(flat: Tensor, tokens: int, width: int, name: str = "") -> Tensor:
    """View a flat prefix as [blocks, tokens, width]; stored order is tokens, blocks (key, value of each layer), width.

    Raises InputError when the sizes do not divide.
    """
    if tokens < 1 or width < 1 or flat.numel() % (tokens * width * 2):
        got = f"{flat.numel()} values, {tokens} tokens, width {width}"
        raise InputError(Fault("a prefix that is no whole number of key and value blocks", name, got))
    return flat.reshape(tokens, -1, width).permute(1, 0, 2)


def unblocked(stacked: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The inverse of `blocks`, in the stored `shape`."""
    return stacked.permute(1, 0, 2).reshape(shape)
