"""Named tensors: in memory, read when asked for, or computed when asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Shape and dtype of a tensor that need not exist yet."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes when stored contiguously."""
        return self.numel * self.dtype.itemsize

    def __str__(self) -> str:
        """For example `[16, 768] bfloat16`."""
        return f"{list(self.shape)} {str(self.dtype).removeprefix('torch.')}"


def spec_of(tensor: Tensor) -> TensorSpec:
    """The spec of an existing tensor."""
    return TensorSpec(tuple(tensor.shape), tensor.dtype)


class LazyTensors(Mapping[str, Tensor]):
    """Tensors that are made when they are asked for; their specs are known without making one."""

    @abstractmethod
    def specs(self) -> dict[str, TensorSpec]:
        """Shape and dtype of every tensor."""

    def __contains__(self, name: object) -> bool:
        """Without making the tensor."""
        return any(name == known for known in self)


class ComputedTensors(LazyTensors):
    """Tensors that are computed when they are asked for, so that only one of them exists at a time."""

    def __init__(self, specs: Mapping[str, TensorSpec], compute: Callable[[str], Tensor]) -> None:
        """`specs` names every tensor; `compute(name)` must return one of exactly that shape and dtype."""
        self._specs = dict(specs)
        self._compute = compute

    def specs(self) -> dict[str, TensorSpec]:
        """As announced."""
        return dict(self._specs)

    def __getitem__(self, name: str) -> Tensor:
        """Compute the tensor; nothing is kept."""
        if name not in self._specs:
            raise KeyError(name)
        return self._compute(name)

    def __iter__(self) -> Iterator[str]:
        """Names, in the order of the specs."""
        return iter(self._specs)

    def __len__(self) -> int:
        """Number of tensors."""
        return len(self._specs)


class JoinedTensors(LazyTensors):
    """Two mappings read as one, still tensor by tensor; names must not repeat."""

    def __init__(self, first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
        """Keep both; nothing is read."""
        self._first, self._second = first, second

    def specs(self) -> dict[str, TensorSpec]:
        """Of both."""
        return {**specs_of(self._first), **specs_of(self._second)}

    def __getitem__(self, name: str) -> Tensor:
        """From whichever has it."""
        return self._first[name] if name in self._first else self._second[name]

    def __iter__(self) -> Iterator[str]:
        """Names of the first, then of the second."""
        return iter((*self._first, *self._second))

    def __len__(self) -> int:
        """Number of tensors of both."""
        return len(self._first) + len(self._second)


def specs_of(tensors: Mapping[str, Tensor]) -> dict[str, TensorSpec]:
    """Specs of all tensors, without computing any and without reading a memory-mapped one."""
    if isinstance(tensors, LazyTensors):
        return tensors.specs()
    return {name: spec_of(tensor) for name, tensor in tensors.items()}
