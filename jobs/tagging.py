"""The flexible tagging head of an adapter directory, applied to hidden states."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jobs.adapters.kinds import Adapter
from jobs.bank import Activation
from jobs.encoder import activation_named
from jobs.errors import Fault, InputError

_TENSOR = re.compile(r"heads\.\*\.(\d+)\.(weight|bias)")


@dataclass(frozen=True, slots=True, eq=False)
class TaggingLayers:
    """Linear layers (weight, bias) with `activation` between them, and the labels by number."""

    labels: tuple[str, ...]
    layers: tuple[tuple[Tensor, Tensor], ...]
    activation: Activation

    def __call__(self, hidden: Tensor) -> Tensor:
        """[..., hidden] -> logits [..., labels]."""
        for number, (weight, bias) in enumerate(self.layers):
            hidden = torch.nn.functional.linear(self.activation(hidden) if number else hidden, weight, bias)
        return hidden


def tagging_layers(adapter: Adapter, device: torch.device) -> TaggingLayers:
    """The head beside `adapter`. Raises InputError when there is none, or it is no flexible tagging head."""
    if adapter.head is None:
        raise InputError(Fault("the task adapter has no head", adapter.label, todo="save it with its head"))
    config: Mapping[str, Any] = adapter.head.config.get("config") or {}
    if config.get("head_type") != "tagging" or not config.get("label2id"):
        got = str(config.get("head_type"))
        raise InputError(Fault("the head is no tagging head with named labels", adapter.label, got))
    parts: dict[int, dict[str, Tensor]] = {}
    for name, tensor in adapter.head.tensors.items():
        found = _TENSOR.fullmatch(name)
        if found is None:
            raise InputError(Fault("not a tensor of a flexible head", f"{adapter.label}: {name}"))
        parts.setdefault(int(found[1]), {})[found[2]] = tensor.to(device, torch.float32)
    layers = tuple((part["weight"], part["bias"]) for _, part in sorted(parts.items()))
    labels: dict[str, int] = config["label2id"]
    activation = activation_named(str(config.get("activation_function") or "tanh"))
    return TaggingLayers(tuple(sorted(labels, key=lambda label: labels[label])), layers, activation)
