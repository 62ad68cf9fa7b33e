"""Dropout whose masks are a function of their place: of row, layer, position and channel, and of nothing else.

A generator's masks depend on all that was drawn before: on the batch's padding, on the languages that share it, on
the number of workers. Here every element hashes its own coordinates (murmur3's finalizer in 32 bits), so that a row
meets the same masks whatever its company, and a bank's language learns what it would learn alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from jobs.errors import Fault, InputError

# Positions of one attention head; no backbone here reads longer rows.
_LONGEST = 1 << 16


class RowDropout(NamedTuple):
    """Of one row: a number that its masks are drawn by, and the share of elements that become zero."""

    seed: int
    rate: float


@dataclass(frozen=True, slots=True)
class RowsDropout:
    """Of a batch's R rows: `seeds` int32 [R] and `rates` [R]."""

    seeds: Tensor
    rates: Tensor

    def __call__(self, x: Tensor, site: int) -> Tensor:
        """Drop elements of x [R, T, C] and scale the others. Each `site` has masks of its own."""
        return self.positions(x.shape[1])(x, site)

    def positions(self, length: int) -> Dropout:
        """Masks for positions [R, length], whatever else is in the rows."""
        numbers = _mixed(torch.arange(1, length + 1, dtype=torch.int32, device=self.seeds.device))
        return Dropout(_mixed(self.seeds[:, None] ^ numbers), self.rates[:, None].expand(-1, length))


@dataclass(frozen=True, slots=True)
class Dropout:
    """Masks for vectors at [...] positions. `keys` int32 [...]: a number for each place; `rates` [...]: its rate."""

    keys: Tensor
    rates: Tensor

    def reshape(self, *shape: int) -> Dropout:
        """The same positions in another shape."""
        return Dropout(self.keys.reshape(shape), self.rates.reshape(shape))

    def at(self, positions: Tensor) -> Dropout:
        """From [G, N] those at `positions` [G, K]."""
        return Dropout(self.keys.gather(1, positions), self.rates.gather(1, positions))

    def __call__(self, x: Tensor, site: int) -> Tensor:
        """Drop elements of x [..., C] and scale the others by 1 / (1 - rate). Each `site` has masks of its own."""
        channels = torch.arange(x.shape[-1], dtype=torch.int32, device=x.device)
        return self._dropped(x, self.keys[..., None] ^ _mixed(channels ^ _site(site)))

    def attention(self, probabilities: Tensor, site: int) -> Tensor:
        """The same of attention probabilities [R, heads, T, S], with positions [R, T]."""
        heads, length = probabilities.shape[1], probabilities.shape[3]
        rows = torch.arange(heads, dtype=torch.int32, device=probabilities.device)[:, None] * _LONGEST
        channels = _mixed((rows + torch.arange(length, dtype=torch.int32, device=rows.device)) ^ _site(site))
        per_head = Dropout(self.keys[:, None], self.rates[:, None])
        return per_head._dropped(probabilities, self.keys[:, None, :, None] ^ channels[:, None])

    def _dropped(self, x: Tensor, drawn: Tensor) -> Tensor:
        # Uniform over the 32-bit integers, of which a share of `rate` lies below the bound.
        bounds = ((self.rates.double() - 0.5) * 2.0**32).clamp(max=2.0**31 - 1).to(torch.int32)
        kept = _mixed_in_place(drawn) >= bounds[..., None]
        return torch.where(kept, x, 0.0) * (1 / (1 - self.rates)).to(x.dtype)[..., None]


class SiteDropout(nn.Module):
    """In place of a model's own dropout: `dropout` of the rows that pass, None where nothing is dropped."""

    def __init__(self, number: int) -> None:
        """`number`: of the place in the model, for masks of its own."""
        super().__init__()
        self.number = number
        self.dropout: RowsDropout | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Of x [R, T, C]."""
        return x if self.dropout is None else self.dropout(x, self.number)


def dropouts_by_row(wrapped: Any, adapter: str) -> list[SiteDropout]:
    """Put dropout by rows in place of that of PEFT's LoRA modules, numbered in the order of their names."""
    layers = sorted((name, one) for name, one in wrapped.named_modules() if hasattr(one, "lora_dropout"))
    made = [SiteDropout(number) for number in range(len(layers))]
    for own, (_, layer) in zip(made, layers, strict=True):
        layer.lora_dropout[adapter] = own
    return made


def refuse_backbone_dropout(rate: float, where: str) -> None:
    """Raise InputError unless `rate` is 0: inside other libraries' models the backbone's dropout is not known."""
    if rate:
        todo = "leave it out; LoRA has a `dropout` of its own"
        raise InputError(Fault("backbone_dropout is for bottleneck adapters alone", where, str(rate), todo))


def _site(number: int) -> int:
    """A 31-bit number for a place in the model, far from its neighbours'."""
    return (number + 1) * 0x9E3779B1 % (1 << 31)


def _mixed(x: Tensor) -> Tensor:
    return _mixed_in_place(x.clone())


def _mixed_in_place(x: Tensor) -> Tensor:
    """Murmur3's finalizer on int32, whose products wrap; shifts are made logical by a mask."""
    x ^= (x >> 16) & 0xFFFF
    x *= 0x85EBCA6B - (1 << 32)
    x ^= (x >> 13) & 0x7FFFF
    x *= 0xC2B2AE35 - (1 << 32)
    x ^= (x >> 16) & 0xFFFF
    return x
