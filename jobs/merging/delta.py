"""Linear merges of LoRA and LoKr on delta W: exact by concatenation, or truncated to a rank."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from jobs.adapters.adapter import Adapter
from jobs.adapters.lora_modules import LokrModule, LoraModule, lokr_modules, lokr_update, lora_modules, lora_update
from jobs.arithmetic.checks import all_finite
from jobs.arithmetic.kronecker import kronecker_sum
from jobs.arithmetic.lowrank import LowRank, concatenated
from jobs.arithmetic.tensors import TensorSpec
from jobs.arithmetic.weighted_sum import accumulation_dtype
from jobs.errors import Fault, InputError
from jobs.merging.lora_result import Target, as_lora, lora_shell, merged_other_tensors
from jobs.merging.merged import Merged
from jobs.merging.sources import Term


def lora_delta(terms: Sequence[Term], rank: int | None) -> Merged:
    """`sum_i weight_i * scaling_i * B_i A_i` per module, as LoRA of scaling 1.

    Sources may differ in rank and scaling. Without `rank` the ranks add up (terms of weight zero add none); with it
    every module gets that rank. Raises InputError when modules or shapes differ, naming both sides.
    """
    active = _active(terms)
    modules = [lora_modules(term.adapter) for term in active]
    tables = [lora_modules(term.adapter) for term in terms]
    same_modules(terms, tables)
    targets = {name: _lora_target(active, [table[name] for table in modules], rank) for name in sorted(modules[0])}
    return as_lora(active[0].adapter, targets, rank, merged_other_tensors(terms, tables))


def lokr_delta(terms: Sequence[Term], rank: int | None) -> Merged:
    """`sum_i weight_i * scaling_i * kron(w1_i, w2_i)` per module, as PEFT LoRA of scaling 1.

    A sum of Kronecker products is none; LoRA factors hold it exactly (see `kronecker_sum`) or to a given rank.
    """
    active = _active(terms)
    modules = [lokr_modules(term.adapter) for term in active]
    tables = [lokr_modules(term.adapter) for term in terms]
    same_modules(terms, tables)
    targets = {name: _lokr_target(active, [table[name] for table in modules], rank) for name in sorted(modules[0])}
    return as_lora(lora_shell(active[0].adapter), targets, rank, merged_other_tensors(terms, tables))


def _active(terms: Sequence[Term]) -> Sequence[Term]:
    return [term for term in terms if term.acts] or terms[:1]


def same_modules(terms: Sequence[Term], tables: Sequence[Mapping[str, Any]]) -> None:
    """Raise InputError, naming both sides, when adapters do not update the same modules."""
    for term, table in zip(terms[1:], tables[1:], strict=True):
        for one, two, first, second in (
            (tables[0], table, terms[0], term),
            (table, tables[0], term, terms[0]),
        ):
            only = sorted(set(one) - set(two))
            if only:
                what = f"{len(only)} modules are updated in {first.path} but not in {second.path}"
                raise InputError(Fault(what, got=", ".join(only[:3])))


def _lora_target(terms: Sequence[Term], modules: Sequence[LoraModule], rank: int | None) -> Target:
    adapter, first = terms[0].adapter, modules[0]
    up, down = adapter.tensors[first.up], adapter.tensors[first.down]
    same_dtype(terms, [module.names for module in modules])
    same_shapes(terms, modules)
    ranks = [term.adapter.tensors[module.down].shape[0] for term, module in zip(terms, modules, strict=True)]
    inner = rank or sum(ranks)

    def exact() -> LowRank:
        for term, module in zip(terms, modules, strict=True):
            finite(term, module.names)
        updates = [lora_update(term.adapter, module) for term, module in zip(terms, modules, strict=True)]
        weights = [t.weight_of(m.up) * m.scaling for t, m in zip(terms, modules, strict=True)]
        # Only a truncation computes further with the factors; concatenation alone rounds them once.
        return concatenated(updates, weights, torch.float64 if rank else accumulation_dtype(up.dtype))

    return Target(
        first.up,
        first.down,
        TensorSpec((up.shape[0], inner, *up.shape[2:]), up.dtype),
        TensorSpec((inner, *down.shape[1:]), down.dtype),
        exact,
    )


def _lokr_target(terms: Sequence[Term], modules: Sequence[LokrModule], rank: int | None) -> Target:
    updates = [lokr_update(term.adapter, module) for term, module in zip(terms, modules, strict=True)]
    _same_shape(terms, modules[0].module, [update.shape for update in updates])
    names = [module.names for module in modules]
    same_dtype(terms, names)
    rows, columns = updates[0].shape
    inner = rank or min(sum(u.left.rank * u.right.rank for u in updates), rows, columns)

    def exact() -> LowRank:
        for term, parts in zip(terms, names, strict=True):
            finite(term, parts)
        return kronecker_sum(
            updates, [t.weight_of(m.names[0]) * m.scaling for t, m in zip(terms, modules, strict=True)]
        )

    dtype = terms[0].adapter.tensors[names[0][0]].dtype
    stem = modules[0].module
    up, down = TensorSpec((rows, inner), dtype), TensorSpec((inner, columns), dtype)
    return Target(f"{stem}.lora_B.weight", f"{stem}.lora_A.weight", up, down, exact)


def same_shapes(terms: Sequence[Term], modules: Sequence[LoraModule]) -> None:
    """Raise InputError, naming both sides, when the terms' updates of one module differ in shape."""
    shapes = [_shape(term.adapter, module) for term, module in zip(terms, modules, strict=True)]
    _same_shape(terms, modules[0].module, shapes)


def _shape(adapter: Adapter, module: LoraModule) -> tuple[int, ...]:
    """Of delta W: [out, in], or that of a convolution's kernel."""
    up, down = adapter.tensors[module.up], adapter.tensors[module.down]
    return (up.shape[0], *down.shape[1:])


def _same_shape(terms: Sequence[Term], module: str, shapes: Sequence[tuple[int, ...]]) -> None:
    """Raise InputError, naming both sides, when one module has updates of different shapes."""
    for term, shape in zip(terms[1:], shapes[1:], strict=True):
        if shape != shapes[0]:
            got = f"{list(shapes[0])} in {terms[0].path}, {list(shape)} in {term.path}"
            todo = "adapters of different backbones do not add up"
            raise InputError(Fault("deltas of different shapes", module, got, todo))


def finite(term: Term, names: Iterable[str]) -> None:
    """Raise InputError when one of these tensors of a term holds NaN or infinity."""
    for name in names:
        all_finite(term.adapter.tensors[name], f"{term.path}: {name}")


def same_dtype(terms: Sequence[Term], names: Sequence[tuple[str, ...]]) -> torch.dtype:
    """The dtype of these tensors, each term's by name. Raises InputError, naming both sides, when there are two."""
    first = terms[0].adapter.tensors[names[0][0]].dtype
    for term, parts in zip(terms, names, strict=True):
        for name in parts:
            dtype = term.adapter.tensors[name].dtype
            if dtype != first:
                got = f"{first} in {terms[0].path}, {dtype} in {term.path}"
                raise InputError(Fault("dtypes differ", name, got, "convert one of them"))
    return first
