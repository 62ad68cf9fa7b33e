"""The LoRA that a merge on delta W yields: its factors, computed module by module, other tensors, its configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from jobs.adapters.adapter import Adapter
from jobs.adapters.lora_modules import LokrModule, LoraModule, module_pattern
from jobs.arithmetic.checks import result_finite
from jobs.arithmetic.lowrank import LowRank, Truncation, evened, padded, truncated
from jobs.arithmetic.tensors import ComputedTensors, TensorSpec
from jobs.arithmetic.weighted_sum import weighted_sum
from jobs.errors import Fault, InputError
from jobs.merging.elementwise import with_tensors
from jobs.merging.merged import Merged
from jobs.merging.sources import Term

# For each name, the spec of the merged tensor and the function that makes it.
Beside = Mapping[str, tuple[TensorSpec, Callable[[], Tensor]]]
Modules = Mapping[str, LoraModule] | Mapping[str, LokrModule]


def merged_other_tensors(terms: Sequence[Term], tables: Sequence[Modules]) -> Beside:
    """What stands beside the factors of these modules: biases of B, and whole parameters, whose weights sum to one.

    Raises InputError when the sources do not hold the same ones.
    """
    tensors = [_others(term.adapter, table) for term, table in zip(terms, tables, strict=True)]
    result: dict[str, tuple[TensorSpec, Callable[[], Tensor]]] = {}
    for term, found in zip(terms[1:], tensors[1:], strict=True):
        if found.keys() != tensors[0].keys():
            got = ", ".join(sorted(found.keys() ^ tensors[0].keys())[:3])
            raise InputError(Fault(f"{terms[0].path} and {term.path} do not hold the same tensors", got=got))
    for name in tensors[0]:
        parts = [found[name] for found in tensors]
        if len({(tuple(part.shape), part.dtype) for part in parts}) != 1:
            got = ", ".join(f"{list(p.shape)} {p.dtype} in {t.path}" for p, t in zip(parts, terms, strict=True))
            raise InputError(Fault("shapes or dtypes differ", name, got))
        spec = TensorSpec(tuple(parts[0].shape), parts[0].dtype)
        result[name] = (spec, partial(weighted_sum, parts, _weights(name, terms, tables), name))
    return result


def _others(adapter: Adapter, table: Modules) -> dict[str, Tensor]:
    factors = {name for module in table.values() for name in module.names}
    return {name: adapter.tensors[name] for name in adapter.tensors if name not in factors}


def _weights(name: str, terms: Sequence[Term], tables: Sequence[Modules]) -> list[float]:
    """The bias of B is part of the update, and scaled with it."""
    module, bias, _ = name.rpartition(".lora_B.bias")
    return [
        term.weight_of(name) * (table[module].scaling if bias else 1.0)
        for term, table in zip(terms, tables, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Target:
    """One module of the merged LoRA: where its factors go, of which shapes, and how they are computed."""

    up: str
    down: str
    up_spec: TensorSpec
    down_spec: TensorSpec
    exact: Callable[[], LowRank]


def as_lora(adapter: Adapter, targets: Mapping[str, Target], rank: int | None, beside: Beside) -> Merged:
    """LoRA of scaling 1 with these modules, truncated to `rank` where one is given, and the tensors `beside`."""
    specs = {name: spec for name, (spec, _) in beside.items()}
    owner: dict[str, str] = {}
    for module, target in targets.items():
        specs[target.up], specs[target.down] = target.up_spec, target.down_spec
        owner[target.up] = owner[target.down] = module
    ranks = {module: target.down_spec.shape[0] for module, target in targets.items()}
    truncations: dict[str, Truncation] = {}

    @lru_cache(maxsize=1)
    def factors(module: str) -> LowRank:
        if rank is None:
            kept = padded(targets[module].exact(), ranks[module])
        else:
            kept, truncations[module] = truncated(targets[module].exact(), rank)
        # Weights and scalings stand in B alone: the narrow range of float16 needs a share of them in A.
        return evened(kept) if targets[module].up_spec.dtype == torch.float16 else kept

    def compute(name: str) -> Tensor:
        if name not in owner:
            made: Tensor = beside[name][1]()
            return made
        pair = factors(owner[name])
        result = (pair.up if name == targets[owner[name]].up else pair.down).to(specs[name].dtype)
        result_finite(result, name)
        return result.reshape(specs[name].shape)

    merged = with_tensors(adapter, ComputedTensors(specs, compute), ranked_config(adapter, ranks))
    return Merged(merged, "delta", truncations=truncations)


def ranked_config(adapter: Adapter, ranks: Mapping[str, int]) -> Mapping[str, Any]:
    """The configuration of a LoRA with these ranks by module and a scaling of 1 everywhere.

    Raises InputError when the ranks differ in the AdapterHub format, which has one rank for all modules.
    """
    common = Counter(sorted(ranks.values())).most_common(1)[0][0]
    others = {module_pattern(module): rank for module, rank in sorted(ranks.items()) if rank != common}
    if adapter.format == "adapterhub":
        if others:
            got = ", ".join(map(str, sorted(set(ranks.values()))))
            raise InputError(Fault("modules of different ranks", adapter.label, got, "give a rank to truncate to"))
        return {**adapter.config, "config": {**adapter.settings, "r": common, "alpha": common}}
    return {
        **adapter.config,
        "r": common,
        "lora_alpha": common,
        "use_rslora": False,
        "init_lora_weights": True,
        "rank_pattern": others,
        "alpha_pattern": dict(others),
    }


def lora_shell(adapter: Adapter) -> Adapter:
    """An adapter without tensors, of kind LoRA, for the same modules as a LoKr one."""
    return replace(adapter, kind="lora", tensors={}, config=_lora_config(adapter.config))


def _lora_config(lokr: Mapping[str, Any]) -> dict[str, Any]:
    kept = (
        "auto_mapping",
        "base_model_name_or_path",
        "exclude_modules",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "modules_to_save",
        "peft_version",
        "revision",
        "target_modules",
        "task_type",
    )
    plain = {"bias": "none", "fan_in_fan_out": False, "lora_bias": False, "lora_dropout": 0.0, "use_dora": False}
    return {"peft_type": "LORA", **{key: lokr[key] for key in kept if key in lokr}, **plain}
