"""One adapter as one vector: where each named tensor lies in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Layout:
    """Names and shapes of an adapter's tensors in the order of their vector: matrices first, then biases.

    `decayed` elements at the front are matrices, the only ones that weight decay applies to.
    """

    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    decayed: int

    @staticmethod
    def of(tensors: Mapping[str, Tensor]) -> Layout:
        """The layout of `tensors`; it depends on names and shapes alone."""
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        order = sorted(shapes, key=lambda name: (len(shapes[name]) < 2, name))
        decayed = sum(prod(shape) for shape in shapes.values() if len(shape) >= 2)
        return Layout(tuple((name, shapes[name]) for name in order), decayed)

    @property
    def size(self) -> int:
        """Elements of the vector."""
        return sum(prod(shape) for _, shape in self.shapes)

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """A new float32 vector [size] with the values of `tensors`."""
        return torch.cat([tensors[name].detach().reshape(-1).float() for name, _ in self.shapes])

    def split(self, vectors: Tensor) -> dict[str, Tensor]:
        """Views of `vectors` [group, size]: name -> [group, *shape]. One split, so that one cat is the backward."""
        parts = torch.split(vectors, [prod(shape) for _, shape in self.shapes], dim=1)
        return {name: part.view(len(part), *shape) for (name, shape), part in zip(self.shapes, parts, strict=True)}

    def tensors(self, vector: Tensor) -> dict[str, Tensor]:
        """Contiguous copies of the tensors in `vector` [size], on the CPU."""
        views = self.split(vector.detach().cpu()[None])
        return {name: view[0].clone(memory_format=torch.contiguous_format) for name, view in views.items()}
