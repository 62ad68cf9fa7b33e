"""Linear merges of LoKr that stay LoKr: the nearest single Kronecker product for every module."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from torch import Tensor

from jobs.adapters.lora_modules import LokrModule, lokr_modules, lokr_update
from jobs.arithmetic.checks import all_finite
from jobs.arithmetic.kronecker import nearest_kronecker
from jobs.arithmetic.lowrank import Truncation
from jobs.arithmetic.tensors import ComputedTensors, TensorSpec
from jobs.errors import Fault, InputError
from jobs.merging.delta import finite, same_dtype, same_modules
from jobs.merging.elementwise import with_tensors
from jobs.merging.lora_result import merged_other_tensors
from jobs.merging.merged import Merged
from jobs.merging.sources import Term


def nearest_lokr(terms: Sequence[Term]) -> Merged:
    """The LoKr whose delta W is nearest, module by module, to the weighted sum; both factors stored whole.

    Raises InputError when modules or the shapes of factors differ between the sources.
    """
    tables = [lokr_modules(term.adapter) for term in terms]
    same_modules(terms, tables)
    adapter = terms[0].adapter
    specs: dict[str, TensorSpec] = {}
    owner: dict[str, str] = {}
    for module in sorted(tables[0]):
        dtype = same_dtype(terms, [table[module].names for table in tables])
        for part, shape in _shapes(terms, [table[module] for table in tables]).items():
            specs[f"{module}.{part}"] = TensorSpec(shape, dtype)
            owner[f"{module}.{part}"] = module
    beside = merged_other_tensors(terms, tables)
    specs |= {name: spec for name, (spec, _) in beside.items()}
    truncations: dict[str, Truncation] = {}

    @lru_cache(maxsize=1)
    def factors(module: str) -> dict[str, Tensor]:
        for term, table in zip(terms, tables, strict=True):
            finite(term, table[module].names)
        updates = [lokr_update(term.adapter, table[module]) for term, table in zip(terms, tables, strict=True)]
        weights = [
            term.weight_of(table[module].names[0]) * table[module].scaling
            for term, table in zip(terms, tables, strict=True)
        ]
        left, right, truncations[module] = nearest_kronecker(updates, weights)
        return {"lokr_w1": left, "lokr_w2": right}

    def compute(name: str) -> Tensor:
        if name in beside:
            return beside[name][1]()
        result = factors(owner[name])[name.rpartition(".")[2]].to(specs[name].dtype)
        all_finite(result, name)
        return result

    # PEFT makes w2 whole when r is at least half its longer side; alpha equal to r gives a scaling of 1.
    sides = [max(spec.shape) for name, spec in specs.items() if name.endswith(".lokr_w2")]
    rank = (max(sides) + 1) // 2
    ranks = {"r": rank, "alpha": rank, "decompose_both": False, "rank_pattern": {}, "alpha_pattern": {}}
    config = {**adapter.config, **ranks}
    return Merged(with_tensors(adapter, ComputedTensors(specs, compute), config), "kronecker", truncations=truncations)


def _shapes(terms: Sequence[Term], modules: Sequence[LokrModule]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for term, module in zip(terms, modules, strict=True):
        update = lokr_update(term.adapter, module)
        for part, factor in (("lokr_w1", update.left), ("lokr_w2", update.right)):
            if found.setdefault(part, factor.shape) != factor.shape:
                got = f"{list(found[part])} in {terms[0].path}, {list(factor.shape)} in {term.path}"
                raise InputError(Fault("Kronecker factors have different shapes", f"{module.module}.{part}", got))
    return found
