"""One LoRA of one rank that does what one or several adapters do beside each other: the form that servers take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from jobs.adapters.adapter import Adapter
from jobs.adapters.lora_modules import LoraModule, lora_modules, lora_update
from jobs.adapters.vllm import RANKS, serving_faults
from jobs.arithmetic.lowrank import padded
from jobs.arithmetic.tensors import ComputedTensors, TensorSpec
from jobs.errors import Fault, InputError, raise_all
from jobs.merging.merged import Merged
from jobs.merging.plan import plan_merge
from jobs.merging.recipe import Linear, PartedSource
from jobs.merging.sources import Term


@dataclass(frozen=True, slots=True)
class Served:
    """The LoRA, `merged.adapter`, of `rank` in every module. `needed`: the rank at which it is exact.

    `untouched`: the factors are the adapter's own, with zeros beside them; otherwise each was rounded once.
    """

    merged: Merged
    rank: int
    needed: int
    untouched: bool


def served_lora(adapters: Sequence[Adapter], model_type: str, rank: int | None = None) -> Served:
    """One LoRA that vLLM takes, with the change of weights that `adapters` make together.

    Without `rank` it is the smallest that vLLM has and that holds the change exactly, filled up with zeros. A smaller
    `rank` truncates to the best approximation, whose error `merged` says once it has been written. `model_type`: of
    the backbone, "" where that is not known. Raises InputError with every reason why vLLM cannot serve it, for a rank
    that vLLM does not have, and where no rank of vLLM's is enough.
    """
    raise_all(fault for adapter in adapters for fault in serving_faults(adapter, model_type))
    exact = _summed(adapters, None)
    needed = max(exact.adapter.config["r"], *exact.adapter.config["rank_pattern"].values(), 0)
    rank = _rank(needed, rank, adapters[-1].label)
    kept = _kept_factors(adapters[0], rank) if len(adapters) == 1 and needed <= rank else None
    merged = Merged(kept, "delta") if kept else _summed(adapters, rank)
    merged.adapter = replace(merged.adapter, config={**merged.adapter.config, **_PLAIN})
    return Served(merged, rank, needed, kept is not None)


# What `serving_faults` let pass says the same as these; a server need not know the settings' other values.
_PLAIN = {
    "use_rslora": False,
    "rank_pattern": {},
    "alpha_pattern": {},
    "init_lora_weights": True,
    "modules_to_save": None,
    "bias": "none",
    "inference_mode": True,
}


def _rank(needed: int, asked: int | None, where: str) -> int:
    choices = ", ".join(map(str, RANKS))
    if asked is not None and asked not in RANKS:
        raise InputError(Fault("vLLM has no such rank", "--rank", str(asked), f"choose one of {choices}"))
    enough = asked or next((rank for rank in RANKS if rank >= needed), None)
    if enough is None:
        todo = f"its largest is {RANKS[-1]}: give --rank, one of {choices}, and the change is truncated"
        raise InputError(Fault("vLLM has no rank that holds this change", where, f"rank {needed}", todo))
    return enough


def _summed(adapters: Sequence[Adapter], rank: int | None) -> Merged:
    """All of them with weight 1, on delta W, as LoRA of scaling 1."""
    sources = tuple(PartedSource(adapter=adapter.label, weight=1.0) for adapter in adapters)
    recipe = Linear(method="linear", name="served", sources=sources, space="delta", rank=rank)
    return plan_merge(recipe, [Term("source", adapter.label, 1.0, adapter) for adapter in adapters])


def _kept_factors(adapter: Adapter, rank: int) -> Adapter | None:
    """The adapter with zeros beside its factors; None unless one whole `lora_alpha` fits all of its modules."""
    if adapter.kind != "lora":
        return None
    modules = lora_modules(adapter)
    alphas = {rank * module.scaling for module in modules.values()}
    if len(alphas) != 1 or not (alpha := alphas.pop()).is_integer():
        return None
    config = {**adapter.config, "r": rank, "lora_alpha": int(alpha)}
    return replace(adapter, config=config, tensors=_padded(adapter, modules, rank))


def _padded(adapter: Adapter, modules: Mapping[str, LoraModule], rank: int) -> ComputedTensors:
    owners = {name: module for module in modules.values() for name in module.names}

    def spec(name: str, module: LoraModule) -> TensorSpec:
        stored: Any = adapter.tensors[name]
        rows, columns = stored.shape
        return TensorSpec((rows, rank) if name == module.up else (rank, columns), stored.dtype)

    def compute(name: str) -> Tensor:
        both = padded(lora_update(adapter, owners[name]), rank)
        return both.up if name == owners[name].up else both.down

    return ComputedTensors({name: spec(name, module) for name, module in owners.items()}, compute)
