"""TIES, DARE and slerp on delta W: whole matrices, module by module, truncated back to a rank."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor

from jobs.adapters.adapter import Adapter
from jobs.adapters.lora_modules import LokrModule, LoraModule, lokr_modules, lokr_update, lora_modules, lora_update
from jobs.arithmetic.lowrank import LowRank, Truncation, truncated_dense
from jobs.arithmetic.tensors import ComputedTensors, TensorSpec
from jobs.errors import Fault, InputError
from jobs.merging import recipe as recipes
from jobs.merging.delta import same_modules
from jobs.merging.elementwise import nonlinear_tensors, with_tensors
from jobs.merging.lora_result import lora_shell, ranked_config
from jobs.merging.merged import Merged
from jobs.merging.sources import Term


def dense_delta(recipe: recipes.Recipe, terms: Sequence[Term], rank: int) -> Merged:
    """The recipe's rule on `delta W` in float32, then the best LoRA of rank `rank` for every module.

    No base is needed: delta W is the task vector. Raises InputError when modules differ or when the adapters hold
    more than low-rank factors.
    """
    states = [_dense_state(term.adapter) for term in terms]
    same_modules(terms, [_modules(term.adapter) for term in terms])
    combined = nonlinear_tensors(recipe, terms, states)
    first = terms[0].adapter
    names = _factor_names(first)
    dtype = next(iter(first.tensors.values())).dtype
    specs: dict[str, TensorSpec] = {}
    for module, (up, down) in names.items():
        rows, columns = combined.specs()[module].shape
        specs[up], specs[down] = TensorSpec((rows, rank), dtype), TensorSpec((rank, columns), dtype)
    owner = {name: module for module, pair in names.items() for name in pair}
    truncations: dict[str, Truncation] = {}

    @lru_cache(maxsize=1)
    def factors(module: str) -> LowRank:
        kept, truncations[module] = truncated_dense(combined[module], rank)
        return kept

    def compute(name: str) -> Tensor:
        pair = factors(owner[name])
        return (pair.up if name == names[owner[name]][0] else pair.down).to(dtype).contiguous()

    shell = lora_shell(first) if first.kind == "lokr" else first
    config = ranked_config(shell, dict.fromkeys(names, rank))
    return Merged(with_tensors(shell, ComputedTensors(specs, compute), config), "delta", truncations=truncations)


def _modules(adapter: Adapter) -> dict[str, Callable[[], Tensor]]:
    """For each module, a function that makes delta W in float32, scaling applied."""
    if adapter.kind == "lora":
        return {name: partial(_lora_dense, adapter, lora) for name, lora in lora_modules(adapter).items()}
    return {name: partial(_lokr_dense, adapter, lokr) for name, lokr in lokr_modules(adapter).items()}


def _lora_dense(adapter: Adapter, module: LoraModule) -> Tensor:
    update = lora_update(adapter, module)
    return (update.up.double() @ update.down.double() * module.scaling).float()


def _lokr_dense(adapter: Adapter, module: LokrModule) -> Tensor:
    return (lokr_update(adapter, module).dense() * module.scaling).float()


def _dense_state(adapter: Adapter) -> ComputedTensors:
    known = {name for pair in _factor_names(adapter).values() for name in pair} if adapter.kind == "lora" else set()
    strangers = [name for name in adapter.tensors if name not in known and ".lokr_" not in name]
    if strangers:
        todo = "use space: factors"
        raise InputError(Fault("more than low-rank factors", adapter.label, ", ".join(strangers[:3]), todo))
    modules = _modules(adapter)
    specs = {}
    for name in modules:
        rows, columns = _shape(adapter, name)
        specs[name] = TensorSpec((rows, columns), torch.float32)
    return ComputedTensors(specs, lambda name: modules[name]())


def _shape(adapter: Adapter, module: str) -> tuple[int, int]:
    if adapter.kind == "lora":
        update = lora_update(adapter, lora_modules(adapter)[module])
        return update.up.shape[0], update.down.shape[1]
    product = lokr_update(adapter, lokr_modules(adapter)[module])
    rows = product.left.up.shape[0] * product.right.up.shape[0]
    return rows, product.left.down.shape[1] * product.right.down.shape[1]


def _factor_names(adapter: Adapter) -> dict[str, tuple[str, str]]:
    if adapter.kind == "lora":
        return {name: (module.up, module.down) for name, module in lora_modules(adapter).items()}
    return {name: (f"{name}.lora_B.weight", f"{name}.lora_A.weight") for name in lokr_modules(adapter)}
