"""The flexible heads of the `adapters` library: made anew, and read from a directory to be applied."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jobs.adapters.adapter import Adapter, Head
from jobs.adapters.peft_heads import flexible_head
from jobs.adapters.tensor_names import PLACEHOLDER
from jobs.errors import Fault, InputError
from jobs.models.encoder import activation_named
from jobs.models.language_model import LanguageModel
from jobs.models.madx import Activation
from jobs.models.madx_backbone import Backbone
from jobs.models.row_dropout import Dropout

_TENSOR = re.compile(r"heads\.\*\.(\d+)\.(weight|bias)")
_KNOWN = ("tagging", "classification", "multiple_choice", "question_answering")
_Layer = tuple[Tensor, Tensor | None]
# Of the dropout before a head's first layer: beyond those of any backbone.
HEAD_SITE = 10_000


@dataclass(frozen=True, slots=True)
class HeadShape:
    """A head before it is trained: `type` as the library calls it, its width, its layers, its configuration."""

    type: str
    outputs: int
    layers: int
    config: Mapping[str, Any]


def tagging_head(labels: tuple[str, ...]) -> HeadShape:
    """One linear layer over every token."""
    config = {
        "activation_function": None,
        "dropout_prob": None,
        "label2id": _numbered(labels),
        "num_labels": len(labels),
    }
    return HeadShape("tagging", len(labels), 1, config)


def classification_head(labels: tuple[str, ...]) -> HeadShape:
    """The library's default: a tanh layer and a linear one over the first token."""
    config = {"label2id": _numbered(labels), "num_labels": len(labels), "bias": True, **_SENTENCE}
    return HeadShape("classification", len(labels), 2, config)


def multiple_choice_head(choices: int) -> HeadShape:
    """The library's default: a tanh layer and a linear one over the first token, one number for each choice."""
    return HeadShape("multiple_choice", 1, 2, {"label2id": None, "num_choices": choices, **_SENTENCE})


def question_answering_head() -> HeadShape:
    """One linear layer over every token: how well an answer begins there, and how well it ends there."""
    config = {"activation_function": "tanh", "dropout_prob": None, "label2id": None, "num_labels": 2}
    return HeadShape("question_answering", 2, 1, config)


_SENTENCE: Mapping[str, Any] = {"activation_function": "tanh", "dropout_prob": None, "use_pooler": False}


def _numbered(labels: tuple[str, ...]) -> dict[str, int]:
    return {label: index for index, label in enumerate(labels)}


def new_head(backbone: Backbone | LanguageModel, shape: HeadShape, seed: int) -> Head:
    """A head with zero biases and N(0, 0.02) weights drawn by `seed`, first layer first.

    Tensors: `heads.*.<n>.weight` and `.bias`, n = 1 for the first linear layer, 4 for the one after an activation.
    """
    hidden, generator = backbone.model.config.hidden_size, torch.Generator().manual_seed(seed)
    document = {
        "config": {**shape.config, "head_type": shape.type, "layers": shape.layers},
        "hidden_size": hidden,
        "model_class": backbone.library_class if isinstance(backbone, Backbone) else type(backbone.model).__name__,
        "model_name": backbone.ref.name,
        "model_type": backbone.model.config.model_type,
        "name": PLACEHOLDER,
        "version": _library_version(),
    }
    tensors = {}
    for layer in range(shape.layers):
        rows = shape.outputs if layer == shape.layers - 1 else hidden
        # Each layer is a dropout, a linear map and, but for the last one, an activation.
        name = f"heads.{PLACEHOLDER}.{3 * layer + 1}"
        tensors[f"{name}.weight"] = torch.empty(rows, hidden).normal_(0.0, 0.02, generator=generator)
        tensors[f"{name}.bias"] = torch.zeros(rows)
    return Head(document, tensors)


@dataclass(frozen=True, slots=True, eq=False)
class HeadLayers:
    """Linear layers (weight, bias) with `activation` between them. `labels` by number, () where they have no names."""

    type: str
    labels: tuple[str, ...]
    layers: tuple[_Layer, ...]
    activation: Activation

    def __call__(self, hidden: Tensor, drop: Dropout | None = None) -> Tensor:
        """[..., hidden] -> outputs [..., width]. `drop`: masks of the positions [...], in training."""
        for number, (weight, bias) in enumerate(self.layers):
            hidden = self.activation(hidden) if number else hidden
            hidden = hidden if drop is None else drop(hidden, HEAD_SITE + number)
            hidden = torch.nn.functional.linear(hidden, weight, bias)
        return hidden


def head_layers(adapter: Adapter, device: torch.device) -> HeadLayers:
    """The head beside `adapter`, on `device`. Raises InputError when there is none, or none that is known."""
    if adapter.head is None:
        raise InputError(Fault("the task adapter has no head", adapter.label, todo="save it with its head"))
    head = flexible_head(adapter.head, adapter.label) if adapter.format == "peft" else adapter.head
    config: Mapping[str, Any] = head.config.get("config") or {}
    if config.get("head_type") not in _KNOWN or config.get("use_pooler"):
        got = f"{config.get('head_type')}{' over the pooler' if config.get('use_pooler') else ''}"
        raise InputError(
            Fault("the head is no flexible head of a known type", adapter.label, got, f"use {', '.join(_KNOWN)}")
        )
    tensors = {name: tensor.to(device, torch.float32) for name, tensor in head.tensors.items()}
    wrong = sorted(name for name in tensors if _TENSOR.fullmatch(name) is None)
    if wrong:
        raise InputError(Fault("not a tensor of a flexible head", f"{adapter.label}: {wrong[0]}"))
    return layers_of(config, tensors)


def layers_of(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> HeadLayers:
    """The layers of a head's configuration and its tensors, which are called as `new_head` calls them."""
    parts: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        found = _TENSOR.fullmatch(name)
        assert found is not None, "checked where the head is read"
        parts.setdefault(int(found[1]), {})[found[2]] = tensor
    layers = tuple((part["weight"], part.get("bias")) for _, part in sorted(parts.items()))
    labels: dict[str, int] = config.get("label2id") or {}
    between = config.get("activation_function")
    # Without an activation the layers follow each other, as the library has it.
    activation = activation_named(str(between)) if between else _unchanged
    return HeadLayers(
        str(config["head_type"]), tuple(sorted(labels, key=lambda label: labels[label])), layers, activation
    )


def _unchanged(hidden: Tensor) -> Tensor:
    return hidden


def _library_version() -> str:
    from adapters import __version__

    return f"adapters.{__version__}"
