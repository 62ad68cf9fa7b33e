"""Tensors of a LoRA adapter that are no low-rank factor, and what a merge on delta W makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from jobs.adapters.adapter import Adapter
from jobs.adapters.lora_modules import LoraModule, lora_modules
from jobs.arithmetic.tensors import TensorSpec
from jobs.arithmetic.weighted_sum import weighted_sum
from jobs.errors import Fault, InputError
from jobs.merging.sources import Term

# For each name, the spec of the merged tensor and the function that makes it.
Beside = Mapping[str, tuple[TensorSpec, Callable[[], Tensor]]]


def merged_other_tensors(terms: Sequence[Term]) -> Beside:
    """Biases of B, biases of the backbone, copies of its embedding.

    Raises InputError when the sources do not hold the same ones, or a whole parameter has no delta.
    """
    tables = [lora_modules(term.adapter) for term in terms]
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
        result[name] = (spec, _beside_rule(name, terms, tables, parts))
    return result


def _others(adapter: Adapter, table: Mapping[str, LoraModule]) -> dict[str, Tensor]:
    factors = {name for module in table.values() for name in (module.up, module.down)}
    return {name: adapter.tensors[name] for name in adapter.tensors if name not in factors}


def _beside_rule(
    name: str, terms: Sequence[Term], tables: Sequence[Mapping[str, LoraModule]], parts: Sequence[Tensor]
) -> Callable[[], Tensor]:
    weights = [term.weight for term in terms]
    if name.endswith(".lora_B.bias"):
        module = name.removesuffix(".lora_B.bias")
        scaled = [weight * table[module].scaling for weight, table in zip(weights, tables, strict=True)]
        return lambda: weighted_sum(parts, scaled, name)
    if name.endswith(".base_layer.weight"):
        for term, part in zip(terms[1:], parts[1:], strict=True):
            if not torch.equal(part, parts[0]):
                raise InputError(Fault(f"{terms[0].path} and {term.path} hold different copies of the backbone", name))
        return parts[0].clone
    if abs(sum(weights) - 1.0) > 1e-6:
        todo = "its change is known only relative to the backbone; let the weights sum to one, or use space: factors"
        raise InputError(Fault("a whole parameter, not a change", name, f"weights sum to {sum(weights):g}", todo))
    return lambda: weighted_sum(parts, weights, name)
