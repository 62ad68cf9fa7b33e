"""Prefix tuning: linear rules on the prefixes themselves, and AdaMergeX's rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from jobs.adapters.adapter import Adapter
from jobs.arithmetic.adamergex import adamergex_prefix
from jobs.arithmetic.prefix import blocks, ejected, unblocked
from jobs.arithmetic.tensors import ComputedTensors, TensorSpec
from jobs.errors import Fault, InputError
from jobs.merging.elementwise import shared_specs, with_tensors
from jobs.merging.sources import Term
from jobs.merging.spaces import is_reparametrized

_EMBEDDING = ".wte.weight"
UNVERIFIED = (
    "The prefix-tuning rule of AdaMergeX is not in the paper's public code and its text was not at hand: "
    "t * (target @ pinv(source)) @ task for each key and value block is the remembered form, unverified."
)


def flat_tensors(adapter: Adapter) -> Mapping[str, Tensor]:
    """The adapter's prefixes in the flat form that the model sees; a flat adapter's own tensors.

    Raises InputError for gated prefixes: a gate multiplies, so prefixes do not add up.
    """
    if not is_reparametrized(adapter):
        return adapter.tensors
    if adapter.settings.get("use_gating"):
        raise InputError(Fault("gated prefixes do not add up", adapter.label, todo="use space: factors"))
    stems = [name.removesuffix(_EMBEDDING) for name in adapter.tensors if name.endswith(_EMBEDDING)]
    width = adapter.tensors[stems[0] + _EMBEDDING].shape[0] if stems else 0
    specs = {}
    for stem in stems:
        rows = adapter.tensors[f"{stem}.control_trans.2.weight"]
        specs[f"{stem}.control_trans"] = TensorSpec((width * rows.shape[0],), rows.dtype)
    return ComputedTensors(specs, lambda name: _eject(adapter, name))


def _eject(adapter: Adapter, name: str) -> Tensor:
    tensors = adapter.tensors
    layers = (
        (tensors[f"{name}.0.weight"], tensors[f"{name}.0.bias"]),
        (tensors[f"{name}.2.weight"], tensors[f"{name}.2.bias"]),
    )
    embedding = tensors[name.removesuffix(".control_trans") + _EMBEDDING]
    return ejected(embedding, layers, str(adapter.settings.get("non_linearity", "tanh"))).to(embedding.dtype)


def as_flat(adapter: Adapter, tensors: Mapping[str, Tensor]) -> Adapter:
    """`adapter` with flat tensors, and the configuration that says so."""
    if not is_reparametrized(adapter):
        return with_tensors(adapter, tensors)
    return with_tensors(adapter, tensors, {**adapter.config, "config": {**adapter.settings, "flat": True}})


def prefix_adamergex(terms: Sequence[Term], t: float) -> Adapter:
    """AdaMergeX for prefixes, block by block; terms are task_source, reference_target, reference_source."""
    states = [flat_tensors(term.adapter) for term in terms]
    specs = shared_specs(terms, states)
    first = terms[0].adapter
    tokens, width = _sizes(first)

    def compute(name: str) -> Tensor:
        tensors = [state[name] for state in states]
        task, target, source = (blocks(tensor.reshape(-1), tokens, width, name) for tensor in tensors)
        return unblocked(adamergex_prefix(task, target, source, t, name), specs[name].shape)

    return as_flat(first, ComputedTensors(specs, compute))


def _sizes(adapter: Adapter) -> tuple[int, int]:
    """Virtual tokens, and the width of a key or value."""
    settings = adapter.settings
    if adapter.format == "peft":
        tokens, width = settings.get("num_virtual_tokens"), settings.get("token_dim")
    else:
        tokens, width = settings.get("prefix_length"), adapter.backbone.hidden_size
    if not isinstance(tokens, int) or not isinstance(width, int):
        raise InputError(Fault("the prefix's sizes are not in its configuration", adapter.label, f"{tokens}, {width}"))
    return tokens, width
