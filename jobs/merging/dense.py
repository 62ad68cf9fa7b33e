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
from jobs.merging.delta import same_modules
from jobs.merging.elementwise import nonlinear_tensors
from jobs.merging.lora_result import Target, as_lora, lora_shell
from jobs.merging.merged import Merged
from jobs.merging.sources import Term

_Modules = Mapping[str, LoraModule | LokrModule]


def dense_delta(recipe: recipes.Recipe, terms: Sequence[Term], rank: int) -> Merged:
    """The recipe's rule on `delta W` in float32, then the best LoRA of rank `rank` for every module.

    No base is needed: delta W is the task vector. Raises InputError when modules differ or when the adapters hold
    more than low-rank factors.
    """
    states = [_dense_state(term.adapter) for term in terms]
    tables = [_modules(term.adapter) for term in terms]
    same_modules(terms, tables)
    combined = nonlinear_tensors(recipe, terms, states)
    first = terms[0].adapter
    dtype = next(iter(first.tensors.values())).dtype
    targets = {}
    for module, (up, down) in _factor_names(tables[0]).items():
        rows, columns = combined.specs()[module].shape
        specs = TensorSpec((rows, rank), dtype), TensorSpec((rank, columns), dtype)
        targets[module] = Target(up, down, *specs, partial(_exact, combined, module))
    return as_lora(lora_shell(first) if first.kind == "lokr" else first, targets, rank, {})


def _exact(combined: Mapping[str, Tensor], module: str) -> LowRank:
    return whole(combined[module].double())


def _modules(adapter: Adapter) -> _Modules:
    return lora_modules(adapter) if adapter.kind == "lora" else lokr_modules(adapter)


def _update(adapter: Adapter, module: LoraModule | LokrModule) -> LowRank | Kronecker:
    return lora_update(adapter, module) if isinstance(module, LoraModule) else lokr_update(adapter, module)


def _dense(adapter: Adapter, module: LoraModule | LokrModule) -> Tensor:
    """Delta W in float32, scaling applied."""
    update = _update(adapter, module)
    exact = update.up.double() @ update.down.double() if isinstance(update, LowRank) else update.dense()
    return (exact * module.scaling).float()


def _dense_state(adapter: Adapter) -> ComputedTensors:
    modules = _modules(adapter)
    known = {name for pair in _factor_names(modules).values() for name in pair} if adapter.kind == "lora" else set()
    strangers = [name for name in adapter.tensors if name not in known and ".lokr_" not in name]
    if strangers:
        todo = "use space: factors"
        raise InputError(Fault("more than low-rank factors", adapter.label, ", ".join(strangers[:3]), todo))
    specs = {name: TensorSpec(_update(adapter, module).shape, torch.float32) for name, module in modules.items()}
    return ComputedTensors(specs, lambda name: _dense(adapter, modules[name]))


def _factor_names(modules: _Modules) -> dict[str, tuple[str, str]]:
    """Where the two factors of each module's result go: where a LoRA has its own."""
    return {
        name: (one.up, one.down) if isinstance(one, LoraModule) else (f"{name}.lora_B.weight", f"{name}.lora_A.weight")
        for name, one in modules.items()
    }
