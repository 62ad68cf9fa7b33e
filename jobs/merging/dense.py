"""TIES, DARE and slerp on delta W: whole matrices, module by module, truncated back to a rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from jobs.adapters.adapter import Adapter
from jobs.adapters.lora_modules import LokrModule, LoraModule, lokr_modules, lokr_update, lora_modules, lora_update
from jobs.arithmetic.kronecker import Kronecker, whole
from jobs.arithmetic.lowrank import LowRank
from jobs.arithmetic.tensors import ComputedTensors, TensorSpec
from jobs.errors import Fault, InputError
from jobs.merging import recipe as recipes
from jobs.merging.delta import finite, same_dtype, same_modules
from jobs.merging.elementwise import nonlinear_tensors
from jobs.merging.lora_result import Target, as_lora, lora_shell
from jobs.merging.merged import Merged
from jobs.merging.sources import Term

_Modules = Mapping[str, LoraModule | LokrModule]


def dense_delta(recipe: recipes.Recipe, terms: Sequence[Term], rank: int) -> Merged:
    """The recipe's rule on `delta W` in float32, then the best LoRA of rank `rank` for every module.

    No base is needed: delta W is the task vector. Raises InputError when modules, their shapes or dtypes differ, for
    NaN or infinity, and when the adapters hold more than low-rank factors.
    """
    states = [_dense_state(term) for term in terms]
    tables = [_modules(term.adapter) for term in terms]
    same_modules(terms, tables)
    first = terms[0].adapter
    dtypes = {module: same_dtype(terms, [table[module].names for table in tables]) for module in sorted(tables[0])}
    combined = nonlinear_tensors(recipe, terms, states)
    targets = {}
    for module, (up, down) in _factor_names(tables[0]).items():
        wide, long = _factor_shapes(first, tables[0][module], combined.specs()[module].shape, rank)
        specs = TensorSpec(wide, dtypes[module]), TensorSpec(long, dtypes[module])
        targets[module] = Target(up, down, *specs, partial(_exact, combined, module))
    return as_lora(lora_shell(first) if first.kind == "lokr" else first, targets, rank, {})


def _factor_shapes(
    first: Adapter, module: LoraModule | LokrModule, shape: tuple[int, ...], rank: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of B and A of that rank as they are stored: those of a convolution keep its kernel."""
    rows, columns = shape
    if isinstance(module, LokrModule):
        return (rows, rank), (rank, columns)
    up, down = first.tensors[module.up].shape, first.tensors[module.down].shape
    return (rows, rank, *up[2:]), (rank, *down[1:])


def _exact(combined: Mapping[str, Tensor], module: str) -> LowRank:
    return whole(combined[module].double())


def _modules(adapter: Adapter) -> _Modules:
    return lora_modules(adapter) if adapter.kind == "lora" else lokr_modules(adapter)


def _update(adapter: Adapter, module: LoraModule | LokrModule) -> LowRank | Kronecker:
    return lora_update(adapter, module) if isinstance(module, LoraModule) else lokr_update(adapter, module)


def _dense(term: Term, module: LoraModule | LokrModule) -> Tensor:
    """Delta W in float32, scaling applied. Raises InputError for NaN or infinity in a factor."""
    finite(term, module.names)
    update = _update(term.adapter, module)
    exact = update.up.double() @ update.down.double() if isinstance(update, LowRank) else update.dense()
    return (exact * module.scaling).float()


def _dense_state(term: Term) -> ComputedTensors:
    adapter = term.adapter
    modules = _modules(adapter)
    refuse_other_tensors(adapter, modules)
    specs = {name: TensorSpec(_update(adapter, module).shape, torch.float32) for name, module in modules.items()}
    return ComputedTensors(specs, lambda name: _dense(term, modules[name]))


def refuse_other_tensors(adapter: Adapter, modules: _Modules) -> None:
    """Raise InputError where an adapter holds more than the factors of `modules`, which these rules are not for."""
    known = {name for module in modules.values() for name in module.names}
    strangers = [name for name in adapter.tensors if name not in known]
    if strangers:
        todo = "use space: factors"
        raise InputError(Fault("more than low-rank factors", adapter.label, ", ".join(strangers[:3]), todo))


def _factor_names(modules: _Modules) -> dict[str, tuple[str, str]]:
    """Where the two factors of each module's result go: where a LoRA has its own."""
    return {
        name: (one.up, one.down) if isinstance(one, LoraModule) else (f"{name}.lora_B.weight", f"{name}.lora_A.weight")
        for name, one in modules.items()
    }
