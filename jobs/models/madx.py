"""A bank: adapters of many languages applied to one batch, each to its own rows.

Rows are grouped by language: a batch of G languages with B rows each is [G * B, T], language g having the rows
g * B to (g + 1) * B. Every two-layer map of an adapter (a bottleneck, a half of the invertible adapter) is one
grouped matrix product over stacked weights [G, out, in]. `adapters` cannot do this: its `Parallel` and
`BatchSplit` apply the first language's invertible adapter to all rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from jobs.adapters.adapter import Adapter
from jobs.errors import Fault, InputError

Activation = Callable[[Tensor], Tensor]

_BOTTLENECK = re.compile(
    r"(?:^|\.)layers?\.(\d+)\.output(?:_adapters)?\.adapters\.\*\.(adapter_down\.0|adapter_up)\.(weight|bias)$"
)
_COUPLING = re.compile(r"(?:^|\.)invertible_adapters\.\*\.([FG])\.([02])\.(weight|bias)$")

# What the grouped products compute; every other value of these settings is another function of the same tensors.
_REQUIRED = {
    "original_ln_before": True,
    "original_ln_after": True,
    "residual_before_ln": True,
    "adapter_residual_before_ln": False,
    "ln_before": False,
    "ln_after": False,
    "use_gating": False,
    "is_parallel": False,
    "phm_layer": False,
    "scaling": 1.0,
}


class TwoLayers(NamedTuple):
    """x -> W1 f(W0 x + b0) + b1 for each group: W0 [G, r, n], b0 [G, r], W1 [G, m, r], b1 [G, m]."""

    w0: Tensor
    b0: Tensor
    w1: Tensor
    b1: Tensor

    def __call__(self, x: Tensor, activation: Activation) -> Tensor:
        """Map x [G, N, n] to [G, N, m]."""
        hidden = activation(torch.baddbmm(self.b0[:, None], x, self.w0.mT))
        return torch.baddbmm(self.b1[:, None], hidden, self.w1.mT)


@dataclass(frozen=True, slots=True)
class Coupling:
    """The invertible adapter of MAD-X, NICE (arXiv 1410.8516): y1 = x1 + F(x2), y2 = x2 + G(y1)."""

    f: TwoLayers
    g: TwoLayers

    def forward(self, x: Tensor, activation: Activation) -> Tensor:
        """Map x [G, N, hidden] forward, at the embeddings."""
        x1, x2 = self._halves(x)
        y1 = x1 + self.f(x2, activation)
        return torch.cat((y1, x2 + self.g(y1, activation)), -1)

    def inverse(self, y: Tensor, activation: Activation) -> Tensor:
        """Map y [G, N, hidden] back, before the output embeddings."""
        y1, y2 = self._halves(y)
        x2 = y2 - self.g(y1, activation)
        return torch.cat((y1 - self.f(x2, activation), x2), -1)

    @staticmethod
    def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
        middle = x.shape[-1] // 2
        return x[..., :middle], x[..., middle:]


@dataclass(frozen=True, slots=True)
class BankWeights:
    """Stacked weights of G adapters of one shape. `layers` maps a layer's index to its bottleneck."""

    layers: Mapping[int, TwoLayers]
    coupling: Coupling | None
    activation: Activation


def bank_weights(tensors: Mapping[str, Tensor], activation: Activation) -> BankWeights:
    """Arrange stacked tensors, generic AdapterHub name -> [G, *shape], by their place in the model.

    Raises InputError for a tensor that is neither an output bottleneck nor a part of a NICE adapter.
    """
    bottlenecks: dict[int, dict[str, Tensor]] = {}
    halves: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if found := _BOTTLENECK.search(name):
            place = "0" if found[2] == "adapter_down.0" else "1"
            bottlenecks.setdefault(int(found[1]), {})[found[3][0] + place] = tensor
        elif found := _COUPLING.search(name):
            halves.setdefault(found[1], {})[found[3][0] + str(int(found[2]) // 2)] = tensor
        else:
            raise InputError(Fault("no bottleneck and no NICE tensor", name, todo="use a MAD-X adapter"))
    layers = {layer: TwoLayers(**parts) for layer, parts in bottlenecks.items()}
    coupling = Coupling(TwoLayers(**halves["F"]), TwoLayers(**halves["G"])) if halves else None
    return BankWeights(layers, coupling, activation)


def side_by_side(banks: Sequence[BankWeights]) -> BankWeights:
    """The adapters of all `banks`, which are of one shape, in their order: G is the sum of theirs."""
    first, *others = banks
    if not others:
        return first
    layers = {index: _joined([one.layers[index] for one in banks]) for index in first.layers}
    couplings = [one.coupling for one in banks if one.coupling is not None]
    coupling = (
        Coupling(_joined([one.f for one in couplings]), _joined([one.g for one in couplings])) if couplings else None
    )
    return BankWeights(layers, coupling, first.activation)


def _joined(parts: Sequence[TwoLayers]) -> TwoLayers:
    return TwoLayers(*map(torch.cat, zip(*parts, strict=True)))


def check_supported(adapter: Adapter) -> None:
    """Raise InputError unless `adapter` is a bottleneck adapter whose settings the grouped products compute."""
    if adapter.kind != "bottleneck":
        raise InputError(Fault("only bottleneck adapters can be trained in a bank", adapter.label, adapter.kind))
    faults = [
        Fault(
            "this setting is not supported in a bank",
            f"{adapter.label}: {key}",
            repr(adapter.settings.get(key)),
            f"use {value}",
        )
        for key, value in _REQUIRED.items()
        if adapter.settings.get(key, value) != value
    ]
    if adapter.settings.get("inv_adapter") not in (None, "nice"):
        faults.append(
            Fault("only NICE invertible adapters are supported", adapter.label, adapter.settings["inv_adapter"])
        )
    if faults:
        raise InputError(*faults)


def check_fits(adapter: Adapter, hidden: int, layers: int, named: str = "the backbone") -> None:
    """Raise InputError unless `adapter` was made for a model of `layers` layers of width `hidden`, which is `named`."""
    own = bank_weights({name: tensor[None] for name, tensor in adapter.tensors.items()}, torch.relu)
    widths = {bottleneck.w1.shape[1] for bottleneck in own.layers.values()}
    if max(own.layers, default=0) >= layers or widths - {hidden}:
        got = f"layers up to {max(own.layers, default=0)}, width {sorted(widths)}"
        todo = f"{named} has {layers} layers of width {hidden}"
        raise InputError(Fault("the adapter was made for another backbone", adapter.label, got, todo))
