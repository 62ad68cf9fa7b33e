"""Where in a model adapters can sit, and where and how the tensors of one of PEFT's act: a place for each module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers.pytorch_utils import Conv1D

from jobs.adapters.adapter import Adapter
from jobs.adapters.lora_modules import LokrModule, LoraModule, lokr_modules, lora_modules
from jobs.errors import Fault, InputError
from jobs.models.peft import grouped
from jobs.models.row_dropout import RowsDropout

_ROOT = "base_model.model."


class Site(Protocol):
    """One module's part of an adapter."""

    @property
    def module(self) -> str:
        """The module's path in the backbone."""

    @property
    def names(self) -> tuple[str, ...]:
        """The adapter's tensors that act here."""

    def sizes(self, shapes: Mapping[str, tuple[int, ...]]) -> Sizes:
        """(inputs, outputs) that the tensors are made for; 0 fits any."""

    def attach(self, module: nn.Module, tensors: Mapping[str, Tensor], dropout: RowsDropout | None) -> RemovableHandle:
        """Let stacked `tensors`, name -> [G, *shape], act on the module's rows until the handle is removed.

        `dropout` of the adapter's inputs, where its kind has one.
        """


@dataclass(frozen=True, slots=True)
class LoraSite:
    """y + scaling * B A dropout(x). `number`: of the place in the model, for masks of its own."""

    part: LoraModule
    number: int

    @property
    def module(self) -> str:
        """The module's path in the backbone."""
        return self.part.module.removeprefix(_ROOT)

    @property
    def names(self) -> tuple[str, ...]:
        """A and B."""
        return self.part.down, self.part.up

    def sizes(self, shapes: Mapping[str, tuple[int, ...]]) -> Sizes:
        """From A [r, inputs] and B [outputs, r]."""
        return shapes[self.part.down][1], shapes[self.part.up][0]

    def attach(self, module: nn.Module, tensors: Mapping[str, Tensor], dropout: RowsDropout | None) -> RemovableHandle:
        """After the module."""
        down, up, scaling = tensors[self.part.down], tensors[self.part.up], self.part.scaling

        def add(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            x = inputs[0] if dropout is None else dropout(inputs[0], self.number)
            return grouped.lora(output, x, down, up, scaling)

        return module.register_forward_hook(add)


@dataclass(frozen=True, slots=True)
class FactorSite:
    """(IA)3: l * y, or W (l * x) where `before` (a feed-forward module)."""

    module: str
    name: str
    before: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The factors."""
        return (self.name,)

    def sizes(self, shapes: Mapping[str, tuple[int, ...]]) -> Sizes:
        """One factor for each input or for each output."""
        count = max(shapes[self.name])
        return (count, 0) if self.before else (0, count)

    def attach(self, module: nn.Module, tensors: Mapping[str, Tensor], dropout: RowsDropout | None) -> RemovableHandle:
        """Before or after the module."""
        factors = tensors[self.name].flatten(1)

        def on_input(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            return grouped.scaled(inputs[0], factors), *inputs[1:]

        def on_output(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            return grouped.scaled(output, factors)

        return module.register_forward_pre_hook(on_input) if self.before else module.register_forward_hook(on_output)


@dataclass(frozen=True, slots=True)
class KroneckerSite:
    """y + scaling * (W1 kron W2) x; a factor may itself be a product of two matrices."""

    part: LokrModule

    @property
    def module(self) -> str:
        """The module's path in the backbone."""
        return self.part.module.removeprefix(_ROOT)

    @property
    def names(self) -> tuple[str, ...]:
        """Both factors' tensors."""
        return tuple(self.part.parts.values())

    def sizes(self, shapes: Mapping[str, tuple[int, ...]]) -> Sizes:
        """Products of the factors' sizes."""
        with torch.device("meta"):
            stacked = {name: torch.empty(1, *shapes[name]) for name in self.names}
        first, second = self._factor("lokr_w1", stacked), self._factor("lokr_w2", stacked)
        return first.shape[2] * second.shape[2], first.shape[1] * second.shape[1]

    def attach(self, module: nn.Module, tensors: Mapping[str, Tensor], dropout: RowsDropout | None) -> RemovableHandle:
        """After the module."""
        first, second = self._factor("lokr_w1", tensors), self._factor("lokr_w2", tensors)

        def add(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            return grouped.kronecker(output, inputs[0], first, second, self.part.scaling)

        return module.register_forward_hook(add)

    def _factor(self, name: str, tensors: Mapping[str, Tensor]) -> Tensor:
        parts = self.part.parts
        if name in parts:
            return tensors[parts[name]]
        return torch.bmm(tensors[parts[f"{name}_a"]], tensors[parts[f"{name}_b"]])


def sites_of(adapter: Adapter) -> tuple[Site, ...]:
    """The sites of a LoRA, (IA)3 or LoKr adapter. Raises InputError for variants that compute something else."""
    match adapter.kind:
        case "lora":
            parts = sorted(lora_modules(adapter).values(), key=lambda part: part.module)
            return tuple(LoraSite(part, number) for number, part in enumerate(parts))
        case "lokr":
            return tuple(map(KroneckerSite, lokr_modules(adapter).values()))
        case "ia3":
            return tuple(_factor_place(name, tensor) for name, tensor in adapter.tensors.items())
        case _:
            raise InputError(Fault("adapters of this kind sit on no module", adapter.label, adapter.kind))


def check_sites(sites: tuple[Site, ...], adapter: Adapter, targets: Mapping[str, nn.Module]) -> None:
    """Raise InputError unless every tensor of `adapter` has its place, on a module of `targets` of its sizes."""
    shapes = {name: tuple(tensor.shape) for name, tensor in adapter.tensors.items()}
    left = sorted(set(shapes) - {name for place in sites for name in place.names})
    if left:
        todo = "only LoRA, (IA)3 and LoKr on linear modules are supported, without biases"
        raise InputError(Fault("tensors that would not be used", adapter.label, ", ".join(left[:3]), todo))
    faults = []
    for place in sites:
        found = linear_sizes(targets[place.module]) if place.module in targets else None
        wanted = place.sizes(shapes)
        if found is None:
            faults.append(Fault("the backbone has no such module", adapter.label, place.module))
        elif any(size not in (0, own) for size, own in zip(wanted, found, strict=True)):
            got, todo = f"{place.module}: {list(wanted)}", f"the backbone's module is {list(found)}"
            faults.append(Fault("the adapter was made for another backbone", adapter.label, got, todo))
    if faults:
        raise InputError(*faults[:5])


def _factor_place(name: str, tensor: Tensor) -> FactorSite:
    module, _, part = name.rpartition(".")
    if part != "ia3_l" or tensor.dim() != 2:
        raise InputError(Fault("no factors of a linear module", name, str(list(tensor.shape))))
    # PEFT keeps factors of inputs as a row and factors of outputs as a column.
    return FactorSite(module.removeprefix(_ROOT), name, tensor.shape[0] == 1)


Sizes = tuple[int, int]


def linear_sizes(module: nn.Module) -> Sizes | None:
    """(inputs, outputs) of a linear module; None for any other. GPT-2's Conv1D is one with its weight transposed."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):
        return int(module.weight.shape[0]), int(module.weight.shape[1])
    return None


def target_modules(model: Any) -> dict[str, nn.Module]:
    """Path -> module, for every linear module but the output embeddings.

    The rows of a module inside a mixture of experts are tokens that were sent there, so they belong to no group, as do
    the relative positions that DeBERTa projects for all rows at once: such modules are left out.
    """
    head, of_positions = model.get_output_embeddings(), _of_positions(model.config)
    return {
        path: module
        for path, module in model.named_modules()
        if linear_sizes(module) is not None
        and module is not head
        and ".experts." not in path
        and not path.endswith(of_positions)
    }


def _of_positions(config: Any) -> tuple[str, ...]:
    """Ends of the paths of modules that relative positions pass; `share_att_key`: those of queries and keys too."""
    if not getattr(config, "relative_attention", False):
        return ()
    shared = (".query_proj", ".key_proj") if getattr(config, "share_att_key", False) else ()
    return (*shared, ".pos_proj", ".pos_q_proj", ".pos_key_proj", ".pos_query_proj")


def check_targets(model: Any, names: Iterable[str], where: str) -> None:
    """Raise InputError for names (ends of paths, as PEFT reads them) that fit no module, listing those that exist."""
    known = target_modules(model)
    missing = [name for name in names if not any(f".{path}".endswith(f".{name}") for path in known)]
    if missing:
        ends = Counter(path.rsplit(".", 1)[-1] for path in known)
        todo = "the backbone has " + ", ".join(f"{name} ({count})" for name, count in sorted(ends.items()))
        raise InputError(Fault("no such target module", where, ", ".join(missing), todo))
