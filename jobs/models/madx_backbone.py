"""The frozen pretrained model and its tokenizer at a pinned revision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM
from transformers.activations import gelu

from jobs.adapters.loading_code import BY_INTERFACE
from jobs.errors import Fault, InputError
from jobs.models.architectures import ARCHITECTURES, SUPPORTED, Architecture
from jobs.models.files import (
    ModelFiles,
    check_weights,
    loading,
    model_files,
    quiet_loading,
    read_config,
    read_tokenizer,
    refuse_lost,
    settings_faults,
)
from jobs.models.frozen_linear import frozen_linear
from jobs.runtime.machine import device_type
from jobs.runtime.phases import phase
from jobs.spec import BackboneRef


@dataclass(frozen=True, slots=True)
class MaskedLmHead:
    """The frozen parts of a masked-LM head; `weight` [V, n] and `bias` [V] are its output embeddings."""

    dense: nn.Linear
    activation: Callable[[Tensor], Tensor]
    norm: nn.Module
    weight: Tensor
    bias: Tensor | None

    def before_output(self, hidden: Tensor) -> Tensor:
        """What the output embeddings are multiplied with: [..., hidden] -> [..., n]."""
        within: Tensor = self.norm(self.activation(frozen_linear(hidden, self.dense.weight, self.dense.bias)))
        return within


@dataclass(frozen=True, slots=True)
class Backbone:
    """A frozen model in evaluation mode with its tokenizer.

    `model` is the architecture's `...ForMaskedLM` of transformers; `head` its masked-LM head, None where the files have
    none. `max_length` is the longest input in tokens.
    """

    ref: BackboneRef
    model: Any
    head: MaskedLmHead | None
    tokenizer: Any
    max_length: int

    @property
    def architecture(self) -> Architecture:
        """Where its parts are."""
        return ARCHITECTURES[self.model.config.model_type]

    @property
    def library_class(self) -> str:
        """The class of the model that `adapters` has adapters in."""
        own = type(self.model).__name__
        return own if self.model.config.model_type in BY_INTERFACE else own.replace("ForMaskedLM", "AdapterModel")

    @property
    def device(self) -> torch.device:
        """Where the model's weights are."""
        device: torch.device = self.model.device
        return device


@phase("loading")
def load_backbone(ref: BackboneRef, device: torch.device | str | None = None) -> Backbone:
    """Load the model of `ref`, frozen, on `device` (default: the GPU if there is one, else the CPU).

    Only safetensors weights are read and no code from the files is run. Raises InputError for a path that is
    no model directory, files that are not the pinned revision, an architecture that is none of
    `ARCHITECTURES`, missing weights, and a tokenizer that is missing, does not match or has no padding token.
    """
    files = model_files(ref)
    config = _config(files)
    check_weights(files, config)
    tokenizer = read_tokenizer(files, config.vocab_size, shared=True)
    if tokenizer.pad_token_id is None:
        todo = "save it with one (tokenizer.pad_token = ...): rows of a batch are filled up with it"
        raise InputError(Fault("the tokenizer has no padding token", f"backbone {files.named}", todo=todo))
    with torch.random.fork_rng():
        # A head without weights in the files is drawn, and not used.
        torch.manual_seed(0)
        model, lost = _model(files, config)
    model.requires_grad_(False)
    model.eval()
    model.to(device or device_type())
    with torch.no_grad(), settings_faults(files):  # some of them are read when tokens pass
        model.base_model(torch.tensor([[0]], device=model.device))
    head = None if lost else _head(model, ARCHITECTURES[config.model_type])
    return Backbone(ref, model, head, tokenizer, _max_length(config))


def require_masked_lm(backbone: Backbone) -> None:
    """Raise InputError unless the backbone has a masked-LM head and its tokenizer a mask token."""
    if backbone.tokenizer.mask_token_id is None:
        todo = "choose another backbone"
        raise InputError(
            Fault("the tokenizer has no mask token, so masked LM is impossible", backbone.ref.name, "", todo)
        )
    if backbone.head is None:
        todo = f"choose a checkpoint saved with its masked-LM head, e.g. a ...ForMaskedLM of {SUPPORTED}"
        raise InputError(Fault("the backbone has no masked-LM head", backbone.ref.name, todo=todo))


def _config(files: ModelFiles) -> Any:
    config = read_config(files)
    where = f"backbone {files.named}"
    if config.model_type not in ARCHITECTURES:
        raise InputError(Fault("this architecture is not supported", where, config.model_type, f"use {SUPPORTED}"))
    if getattr(config, "position_embedding_type", "absolute") != "absolute" or getattr(config, "is_decoder", False):
        raise InputError(Fault("only encoders with absolute positions are supported", where))
    return config


def _model(files: ModelFiles, config: Any) -> tuple[Any, bool]:
    """The model, and whether the files lack its masked-LM head."""
    with quiet_loading(files):
        model, report = AutoModelForMaskedLM.from_pretrained(
            files.folder, config=config, use_safetensors=True, output_loading_info=True, **loading(config)
        )
    lost, inside = set(report["missing_keys"]), f"{model.base_model_prefix}."
    headless = lost >= {name for name, _ in model.named_parameters() if not name.startswith(inside)}
    refuse_lost(files, sorted(name for name in lost if name.startswith(inside) or not headless))
    return model, headless


def _head(model: Any, architecture: Architecture) -> MaskedLmHead:
    tensors, modules = dict(model.named_parameters(remove_duplicate=False)), dict(model.named_modules())
    places = architecture.head
    activation = modules[places.activation] if places.activation else gelu
    return MaskedLmHead(
        modules[places.dense], activation, modules[places.norm], tensors[places.weight], tensors.get(places.bias)
    )


def _max_length(config: Any) -> int:
    # RoBERTa numbers positions from padding_idx + 1.
    offset = config.pad_token_id + 1 if "roberta" in config.model_type else 0
    return int(config.max_position_embeddings) - offset
