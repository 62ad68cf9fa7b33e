"""Tensor names of the AdapterHub format, freed of the adapter's own name and of old spellings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from jobs.arithmetic.tensors import LazyTensors, TensorSpec, specs_of
from jobs.errors import Fault, InputError

PLACEHOLDER = "*"
_CONTAINERS = (
    "adapters|invertible_adapters|loras|prefix_tunings|prefix_gates|shared_parameters|refts|prompt_tunings|heads"
)
_OLD_CONTAINERS = {
    "attention_text_task_adapters": "adapters",
    "attention_text_lang_adapters": "adapters",
    "layer_text_task_adapters": "adapters",
    "layer_text_lang_adapters": "adapters",
    "invertible_lang_adapters": "invertible_adapters",
}


class RenamedTensors(LazyTensors):
    """Another mapping's tensors under new names, still read only when asked for."""

    def __init__(self, tensors: Mapping[str, Tensor], originals: Mapping[str, str]) -> None:
        """`originals` maps each new name to the name in `tensors`."""
        self._tensors = tensors
        self._originals = dict(sorted(originals.items()))

    def specs(self) -> dict[str, TensorSpec]:
        """Those of the other mapping, under the new names."""
        specs = specs_of(self._tensors)
        return {new: specs[original] for new, original in self._originals.items()}

    def __contains__(self, name: object) -> bool:
        """Without making the tensor."""
        return name in self._originals

    def __getitem__(self, name: str) -> Tensor:
        """The tensor behind the new name."""
        return self._tensors[self._originals[name]]

    def __iter__(self) -> Iterator[str]:
        """New names in sorted order."""
        return iter(self._originals)

    def __len__(self) -> int:
        """Number of tensors."""
        return len(self._originals)


def free_names(tensors: Mapping[str, Tensor], name: str, where: str) -> Mapping[str, Tensor]:
    """Put `*` for the adapter's name in every tensor name.

    Raises InputError for a tensor that does not belong to `name`: it would be lost on loading.
    """
    pattern = re.compile(rf"(^|\.)({_CONTAINERS})\.{re.escape(name)}\.")
    originals: dict[str, str] = {}
    strangers: list[str] = []
    for original in tensors:
        new, count = pattern.subn(rf"\1\2.{PLACEHOLDER}.", _modern(original), count=1)
        if count:
            originals[new] = original
        else:
            strangers.append(original)
    if strangers:
        raise InputError(
            Fault(f"tensors that do not belong to the adapter {name!r}", where, ", ".join(sorted(strangers)[:3]))
        )
    return RenamedTensors(tensors, originals)


def free_head_names(tensors: Mapping[str, Tensor], name: str) -> Mapping[str, Tensor]:
    """Put `*` for the head's name where a flexible head has it; the names of static heads stay."""
    pattern = re.compile(rf"(^|\.)heads\.{re.escape(name)}\.")
    return RenamedTensors(tensors, {pattern.sub(rf"\1heads.{PLACEHOLDER}.", old, count=1): old for old in tensors})


def bind_names(tensors: Mapping[str, Tensor], name: str) -> Mapping[str, Tensor]:
    """The inverse: names as they stand in a model in which the adapter is called `name`."""
    return RenamedTensors(tensors, {bind_name(generic, name): generic for generic in tensors})


def bind_name(generic: str, name: str) -> str:
    """One tensor name with `name` in place of `*`."""
    return generic.replace(f".{PLACEHOLDER}.", f".{name}.", 1)


def _modern(name: str) -> str:
    for old, new in _OLD_CONTAINERS.items():
        name = name.replace(old, new)
    return name


def without_aliases(tensors: Mapping[str, Tensor], where: str) -> Mapping[str, Tensor]:
    """Keep one name for every prefix-tuning parameter.

    `adapters` saves the one shared pool of prefixes once for the model and again under every layer. The
    shortest name is kept: loading it loads them all. Raises InputError when the copies differ.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for name in tensors:
        owner, found, rest = name.partition(f"prefix_tunings.{PLACEHOLDER}.")
        groups.setdefault(("shared", rest) if found else ("own", owner), []).append(name)
    kept: dict[str, str] = {}
    for names in groups.values():
        first, *copies = sorted(names, key=lambda name: (len(name), name))
        kept[first] = first
        for copy in copies:
            if not torch.equal(tensors[first], tensors[copy]):
                raise InputError(Fault("two copies of one shared parameter differ", where, f"{first} and {copy}"))
    return RenamedTensors(tensors, kept)
