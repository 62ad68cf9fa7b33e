"""Adapters that stay in memory: read once, mixed many times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from jobs.adapters.adapter import Adapter, Head


def in_memory(adapter: Adapter) -> Adapter:
    """The same adapter with every tensor read and copied: its files are not touched again."""
    head = None if adapter.head is None else Head(adapter.head.config, _copied(adapter.head.tensors))
    return replace(adapter, tensors=_copied(adapter.tensors), head=head)


def bytes_of(adapter: Adapter) -> int:
    """What its tensors take."""
    both = (adapter.tensors, {} if adapter.head is None else adapter.head.tensors)
    return sum(tensor.nbytes for tensors in both for tensor in tensors.values())


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}
