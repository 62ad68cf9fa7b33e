"""What an adapter is, whatever file format it came in, and how it stays in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor

from jobs.errors import Fault, InputError


def named(adapter: Adapter, name: str, tensors: Mapping[str, Tensor], head: Head | None = None) -> Adapter:
    """`adapter` under another name with other tensors of the same names; raises InputError when names differ."""
    if set(tensors) != set(adapter.tensors):
        difference = ", ".join(sorted(set(tensors) ^ set(adapter.tensors))[:3])
        raise InputError(Fault("other tensors than the adapter has", adapter.label, difference))
    # PEFT's files do not hold the adapter's name.
    config = {**adapter.config, "name": name} if adapter.format == "adapterhub" else adapter.config
    return replace(adapter, name=name, config=config, tensors=dict(tensors), head=head)


Kind = Literal["bottleneck", "lora", "ia3", "prefix", "lokr"]
Format = Literal["adapterhub", "peft"]

LOW_RANK_KINDS: tuple[Kind, ...] = ("lora", "lokr")


@dataclass(frozen=True, slots=True)
class StatedBackbone:
    """What an adapter's file says about the model it was trained on; an empty field was not said."""

    model_name: str = ""
    hidden_size: int | None = None
    model_type: str = ""
    model_class: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """A prediction head (AdapterHub) or the fully trained modules (PEFT `modules_to_save`) beside an adapter."""

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter in memory or memory-mapped.

    `tensors` has names free of the adapter's own name: in the AdapterHub format the path component that is
    the name is written `*` (`...output.adapters.*.adapter_up.weight`), PEFT's names never hold it.
    `config` is the document of `adapter_config.json` as it stands in the file.
    """

    kind: Kind
    format: Format
    name: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    backbone: StatedBackbone = field(default_factory=StatedBackbone)
    head: Head | None = None
    path: str = ""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The part of `config` that describes the method itself (AdapterHub nests it, PEFT does not)."""
        if self.format == "adapterhub":
            nested: Mapping[str, Any] = self.config["config"]
            return nested
        return self.config

    @property
    def label(self) -> str:
        """How messages call this adapter: where it came from, else its name."""
        return self.path or self.name


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
