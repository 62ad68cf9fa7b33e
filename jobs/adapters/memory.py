"""Adapters that stay in memory: read once, mixed many times."""

from __future__ import annotations

from dataclasses import replace

from jobs.adapters.kinds import Adapter


def in_memory(adapter: Adapter) -> Adapter:
    """The same adapter with every tensor read and copied: its files are not touched again."""
    return replace(adapter, tensors={name: tensor.clone() for name, tensor in adapter.tensors.items()})


def bytes_of(adapter: Adapter) -> int:
    """What its tensors take."""
    return sum(tensor.nbytes for tensor in adapter.tensors.values())
