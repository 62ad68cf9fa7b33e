"""Merges of LoRA in core space: what each adapter does, as a small matrix between bases that all of them share.

Core Space (Panariello et al. 2025, arXiv 2509.17786). For every module, U holds the left singular vectors of the B's
side by side, V the right ones of the A's one above the other. The core of a source is `U' (scaling B A) V`; the rule
merges the cores, and `U core V'` is the merged update. U and V span all that the sources do, so that nothing is lost:
for a weighted sum the result is that of `space: delta`. Rules that look at single values (TIES, DARE) see other values.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache, partial

import torch
from torch import Tensor

from jobs.adapters.lora_modules import lora_modules, lora_update
from jobs.arithmetic.lowrank import LowRank
from jobs.arithmetic.tensors import ComputedTensors, TensorSpec
from jobs.merging import recipe as recipes
from jobs.merging.delta import finite, same_dtype, same_modules, same_shapes
from jobs.merging.dense import refuse_other_tensors
from jobs.merging.elementwise import linear_tensors, nonlinear_tensors
from jobs.merging.lora_result import Target, as_lora
from jobs.merging.merged import Merged
from jobs.merging.sources import Term
from jobs.merging.spaces import LINEAR


def core_merge(recipe: recipes.Recipe, terms: Sequence[Term], rank: int | None) -> Merged:
    """The recipe's rule on the cores, as LoRA of scaling 1 whose rank is the sum of the sources', or `rank`.

    The cores of all modules are held in float32; of everything else one module at a time. Raises InputError when
    modules, their shapes or dtypes differ, for NaN or infinity, and for adapters that hold more than low-rank factors.
    """
    cores = _Cores(terms)
    specs = {module: TensorSpec(cores.shape(module), torch.float32) for module in cores.modules}
    states = [ComputedTensors(specs, partial(cores.core, number)) for number in range(len(terms))]
    rule = linear_tensors if isinstance(recipe, LINEAR) else partial(nonlinear_tensors, recipe)
    combined = rule(terms, states)
    targets = {module: cores.target(module, combined, rank) for module in cores.modules}
    merged = as_lora(terms[0].adapter, targets, rank, {})
    merged.space = "core"
    return merged


class _Cores:
    """The cores of all sources, and the bases of each module."""

    def __init__(self, terms: Sequence[Term]) -> None:
        self._terms = terms
        self._tables = [lora_modules(term.adapter) for term in terms]
        for term, table in zip(terms, self._tables, strict=True):
            refuse_other_tensors(term.adapter, table)
        same_modules(terms, self._tables)
        self.modules = sorted(self._tables[0])
        for module in self.modules:
            same_dtype(terms, [table[module].names for table in self._tables])
            same_shapes(terms, [table[module] for table in self._tables])
        self._bases = lru_cache(maxsize=1)(self._new_bases)
        self._of_module = cache(self._new_cores)

    def shape(self, module: str) -> tuple[int, int]:
        """Of the module's cores, whatever the rank of what the sources do."""
        updates = self._updates(module)
        total, (rows, columns) = sum(update.rank for update in updates), updates[0].shape
        return min(total, rows), min(total, columns)

    def core(self, number: int, module: str) -> Tensor:
        """One source's core, scaling applied, in float32."""
        return self._of_module(module)[number]

    def target(self, module: str, combined: ComputedTensors, rank: int | None) -> Target:
        """Where the merged update of a module goes, and how it is computed."""
        adapter, names = self._terms[0].adapter, self._tables[0][module]
        up, down = adapter.tensors[names.up], adapter.tensors[names.down]
        inner = rank or min(self.shape(module))
        wide, long = (up.shape[0], inner, *up.shape[2:]), (inner, *down.shape[1:])
        exact = partial(self._exact, module, combined)
        return Target(names.up, names.down, TensorSpec(wide, up.dtype), TensorSpec(long, down.dtype), exact)

    def _exact(self, module: str, combined: ComputedTensors) -> LowRank:
        left, right = self._bases(module)
        core = combined[module].double()
        narrow = core.shape[0] < core.shape[1]
        return LowRank(left, core @ right) if narrow else LowRank(left @ core, right)

    def _updates(self, module: str) -> list[LowRank]:
        return [lora_update(term.adapter, table[module]) for term, table in zip(self._terms, self._tables, strict=True)]

    def _new_cores(self, module: str) -> list[Tensor]:
        left, right = self._bases(module)
        cores = []
        for table, update in zip(self._tables, self._updates(module), strict=True):
            core = (left.T @ update.up.double()) @ (update.down.double() @ right.T)
            cores.append((core * table[module].scaling).float())
        return cores

    def _new_bases(self, module: str) -> tuple[Tensor, Tensor]:
        """U [rows, n] and V' [m, columns]; directions in which no source does anything are zero."""
        for term, table in zip(self._terms, self._tables, strict=True):
            finite(term, table[module].names)
        updates = self._updates(module)
        left, wide, _ = torch.linalg.svd(torch.cat([one.up for one in updates], dim=1).double(), full_matrices=False)
        _, long, right = torch.linalg.svd(torch.cat([one.down for one in updates]).double(), full_matrices=False)
        return left * _present(wide), right * _present(long)[:, None]


def _present(values: Tensor) -> Tensor:
    """1 where a singular value is more than rounding, else 0."""
    return (values > values.max() * 1e-12).to(values.dtype)
