"""Parameters that adapters hold whole, beside their changes: averaged or copied, and never scaled.

Copies of embeddings, rows of trained tokens, biases of the backbone and DoRA's magnitudes are values of the model
itself. What an adapter changed in them is known only relative to the backbone, which is not at hand: a weighted sum
is right where the weights sum to one, for then the backbone drops out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from jobs.adapters.adapter import Adapter
from jobs.adapters.tensor_names import RenamedTensors
from jobs.arithmetic.tensors import JoinedTensors
from jobs.errors import Fault, InputError
from jobs.merging import recipe as recipes
from jobs.merging.sources import ZERO_BASE, Term
from jobs.merging.spaces import LINEAR

_CHANGES = (".lora_", ".lokr_", ".ia3_l")
_FROZEN = ".base_layer.weight"
_TOLERANCE = 1e-6


def with_whole(adapter: Adapter) -> Adapter:
    """`adapter` with what PEFT saved beside it as its own: whatever stands under no module of `modules_to_save`."""
    head = adapter.head
    if head is None or adapter.format != "peft" or adapter.kind == "prefix":
        return adapter
    modules = head.config.get("modules_to_save") or []
    named = [name for name in head.tensors if any(f".{module}." in name for module in modules)]
    beside = [name for name in head.tensors if name not in named]
    rest = replace(head, tensors=_only(head.tensors, named)) if named else None
    return replace(adapter, tensors=JoinedTensors(adapter.tensors, _only(head.tensors, beside)), head=rest)


def without_copies(terms: Sequence[Term]) -> tuple[list[Term], Mapping[str, Tensor]]:
    """The terms without their copies of frozen weights of the backbone, and these, which any merge hands on.

    Raises InputError where two sources hold different ones. A copy that only some hold stays where it is.
    """
    first = terms[0].adapter.tensors
    copies = [n for n in first if n.endswith(_FROZEN) and all(n in term.adapter.tensors for term in terms)]
    for term in terms[1:]:
        for name in copies:
            one, other = first[name], term.adapter.tensors[name]
            if one.dtype != other.dtype or not torch.equal(one, other):
                raise InputError(Fault(f"{terms[0].path} and {term.path} hold different copies of the backbone", name))
    if not copies:
        return list(terms), {}
    return [replace(term, adapter=_without(term.adapter, copies)) for term in terms], _only(first, copies)


def _without(adapter: Adapter, names: Sequence[str]) -> Adapter:
    return replace(adapter, tensors=_only(adapter.tensors, [name for name in adapter.tensors if name not in names]))


def _only(tensors: Mapping[str, Tensor], names: Sequence[str]) -> Mapping[str, Tensor]:
    return RenamedTensors(tensors, {name: name for name in names})


def check_whole(recipe: recipes.Recipe, terms: Sequence[Term]) -> None:
    """Raise InputError where the rule would scale, trim or zero a whole parameter as if it were a change."""
    whole = [name for name in terms[0].adapter.tensors if _is_whole(terms[0].adapter, name)]
    if not whole:
        return
    name = whole[0]
    if isinstance(recipe, LINEAR):
        for one in whole if any(term.parts for term in terms) else [name]:
            check_sum(terms, one)
    elif isinstance(recipe, recipes.Ties | recipes.Dare | recipes.DareTies) and recipe.base in (None, ZERO_BASE):
        got, todo = f"{recipe.method} without a base", "give the adapter at its initialization as base"
        raise InputError(Fault("a whole parameter, not a change", name, got, todo))


def check_sum(terms: Sequence[Term], name: str, todo: str = "let the weights sum to one") -> None:
    """Raise InputError, for the whole parameter `name`, unless the weights of the terms sum to one."""
    total = sum(term.weight_of(name) for term in terms)
    if abs(total - 1.0) > _TOLERANCE:
        reason = "its change is known only relative to the backbone"
        got = f"weights sum to {total:g}"
        raise InputError(Fault("a whole parameter, not a change", name, got, f"{reason}; {todo}"))


def _is_whole(adapter: Adapter, name: str) -> bool:
    if adapter.format == "adapterhub":
        return adapter.kind == "lora" and name.endswith(".m.weight")  # DoRA's magnitudes
    if adapter.kind == "prefix":
        return False
    return ".lora_magnitude_vector" in name or not any(mark in name for mark in _CHANGES)
