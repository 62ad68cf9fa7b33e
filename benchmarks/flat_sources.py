"""Many merges of the same sources with new weights: one matrix, in-place writes, no allocation."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jobs.arithmetic.checks import all_finite, same_layout
from jobs.arithmetic.weighted_sum import CHUNK, accumulation_dtype, sum_into
from jobs.errors import Fault, InputError


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a tensor lies in a flat vector: elements `offset` to `offset + numel`, to be viewed as `shape`."""

    offset: int
    shape: tuple[int, ...]
    numel: int


class FlatSources:
    """Sources as rows of one float32 (float64 for float64 sources) matrix [n_sources, n_params].

    `layout` maps each tensor name, in sorted order, to its slot; `write_merge` puts `sum_i w_i * source_i` into
    tensors that exist already, such as the parameters of a reserved adapter in a model.
    """

    def __init__(self, sources: Sequence[Mapping[str, Tensor]], labels: Sequence[str] | None = None) -> None:
        """Copy the sources into the matrix. Raises InputError when layouts differ or a value is not finite."""
        specs = same_layout(sources, labels)
        self.layout: dict[str, Slot] = {}
        size = 0
        for name, spec in specs.items():
            self.layout[name] = Slot(size, spec.shape, spec.numel)
            size += spec.numel
        dtypes = {accumulation_dtype(spec.dtype) for spec in specs.values()}
        self.matrix = torch.empty(len(sources), size, dtype=max(dtypes, key=lambda dtype: dtype.itemsize))
        for row, source in zip(self.matrix, sources, strict=True):
            for name, slot in self.layout.items():
                row[slot.offset : slot.offset + slot.numel].copy_(source[name].reshape(-1))
                all_finite(source[name], name)
        self._chunks = {name: self._source_chunks(slot) for name, slot in self.layout.items()}
        self._first_weight = torch.empty((), dtype=self.matrix.dtype)
        self._scratch = torch.empty(min(CHUNK, max(size, 1)), dtype=self.matrix.dtype)

    def _source_chunks(self, slot: Slot) -> list[tuple[Tensor, ...]]:
        """For each chunk of the tensor, its part of every source."""
        parts = torch.split(self.matrix[:, slot.offset : slot.offset + slot.numel], CHUNK, dim=1)
        return [tuple(part.unbind(0)) for part in parts]

    @torch.no_grad()
    def write_merge(self, weights: Sequence[float], out_tensors: MutableMapping[str, Tensor]) -> None:
        """Write `sum_i weights[i] * source_i` into `out_tensors`, in place.

        The keys must be those of the layout, the tensors contiguous, on the CPU, of the layout's shapes; their
        dtype may be narrower than the matrix's, in which case each value is rounded once. The same sums, bit for
        bit, as `combine.linear`. Raises InputError otherwise, before anything is written.
        """
        if len(weights) != len(self.matrix):
            raise InputError(Fault("one weight per source is needed", got=f"{len(weights)} for {len(self.matrix)}"))
        self._check(out_tensors)
        self._first_weight.fill_(weights[0])
        for name, chunks in self._chunks.items():
            out = out_tensors[name].view(-1)
            direct = out.dtype == self.matrix.dtype
            for index, parts in enumerate(chunks):
                target = out[index * CHUNK : (index + 1) * CHUNK]
                work = target if direct else self._scratch[: target.numel()]
                sum_into(work, parts, self._first_weight, weights)
                if not direct:
                    target.copy_(work)

    def merge(self, weights: Sequence[float]) -> dict[str, Tensor]:
        """The same sum in new tensors of the matrix's dtype."""
        out = {name: torch.empty(slot.shape, dtype=self.matrix.dtype) for name, slot in self.layout.items()}
        self.write_merge(weights, out)
        return out

    def _check(self, out_tensors: Mapping[str, Tensor]) -> None:
        if out_tensors.keys() != self.layout.keys():
            difference = sorted(out_tensors.keys() ^ self.layout.keys())[:5]
            raise InputError(Fault("tensors to write differ from the sources'", got=", ".join(difference)))
        for name, slot in self.layout.items():
            tensor = out_tensors[name]
            if tuple(tensor.shape) != slot.shape or not tensor.is_contiguous():
                got = f"{list(tensor.shape)}, contiguous: {tensor.is_contiguous()}"
                raise InputError(Fault("a tensor to write does not fit", name, got, f"needed: {list(slot.shape)}"))
