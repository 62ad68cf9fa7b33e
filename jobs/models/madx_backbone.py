"""The frozen pretrained model and its tokenizer at a pinned revision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from adapters import AutoAdapterModel
from safetensors import safe_open

from jobs.errors import Fault, InputError
from jobs.models.files import (
    LOADING,
    ModelFiles,
    check_weights,
    model_files,
    quiet_loading,
    read_config,
    read_tokenizer,
    refuse_lost,
    settings_faults,
)
from jobs.models.limits import ARCHITECTURES
from jobs.runtime.machine import device_type
from jobs.spec import BackboneRef

MASKED_LM_HEAD = "default"
# The output bias of the masked-LM head under the name that checkpoints without the tied copy have.
_OUTPUT_BIAS = ("lm_head.bias", "cls.predictions.bias")


@dataclass(frozen=True, slots=True)
class Backbone:
    """A frozen model in evaluation mode with its tokenizer.

    `model` is the `adapters` flexible-head model of the architecture; its masked-LM head, where the files have
    one, is called `MASKED_LM_HEAD`. `max_length` is the longest input in tokens.
    """

    ref: BackboneRef
    model: Any
    tokenizer: Any
    max_length: int

    @property
    def device(self) -> torch.device:
        """Where the model's weights are."""
        device: torch.device = self.model.device
        return device


def load_backbone(ref: BackboneRef, device: torch.device | str | None = None) -> Backbone:
    """Load the model of `ref`, frozen, on `device` (default: the GPU if there is one, else the CPU).

    Only safetensors weights are read and no code from the files is run. Raises InputError for a path that is
    no model directory, files that are not the pinned revision, an architecture other than XLM-R, RoBERTa and
    BERT, missing weights, and a tokenizer that is missing, does not match or has no padding token.
    """
    files = model_files(ref)
    config = _config(files)
    weights = check_weights(files, config)
    tokenizer = read_tokenizer(files, config.vocab_size, shared=True)
    if tokenizer.pad_token_id is None:
        todo = "save it with one (tokenizer.pad_token = ...): rows of a batch are filled up with it"
        raise InputError(Fault("the tokenizer has no padding token", f"backbone {files.named}", todo=todo))
    with torch.random.fork_rng():
        # Parts without weights in the files (an unused pooler) are drawn: the same way every time.
        torch.manual_seed(0)
        model = _model(files, config, weights)
    model.requires_grad_(False)
    model.eval()
    model.to(device or device_type())
    with torch.no_grad(), settings_faults(files):  # some of them are read when tokens pass
        model.base_model(torch.tensor([[0]], device=model.device))
    return Backbone(ref, model, tokenizer, _max_length(config))


def require_masked_lm(backbone: Backbone) -> None:
    """Raise InputError unless the backbone has a masked-LM head and its tokenizer a mask token."""
    if backbone.tokenizer.mask_token_id is None:
        todo = "choose another backbone"
        raise InputError(
            Fault("the tokenizer has no mask token, so masked LM is impossible", backbone.ref.name, "", todo)
        )
    heads = backbone.model.heads
    if MASKED_LM_HEAD not in heads or heads[MASKED_LM_HEAD].config["head_type"] != "masked_lm":
        todo = f"choose a checkpoint saved with its masked-LM head, e.g. a ...ForMaskedLM of {_supported()}"
        raise InputError(Fault("the backbone has no masked-LM head", backbone.ref.name, todo=todo))


def _config(files: ModelFiles) -> Any:
    config = read_config(files)
    if config.model_type not in ARCHITECTURES:
        where, todo = f"backbone {files.named}", f"use {_supported()}"
        raise InputError(Fault("this architecture is not supported", where, config.model_type, todo))
    if getattr(config, "position_embedding_type", "absolute") != "absolute" or config.is_decoder:
        raise InputError(Fault("only encoders with absolute positions are supported", f"backbone {files.named}"))
    return config


def _model(files: ModelFiles, config: Any, weights: Sequence[Path]) -> Any:
    with quiet_loading(files):
        model, report = AutoAdapterModel.from_pretrained(
            files.folder, config=config, use_safetensors=True, output_loading_info=True, **LOADING
        )
        restored = _restore_output_bias(model, weights)
    refuse_lost(files, [name for name in report["missing_keys"] if ".pooler." not in name and name not in restored])
    return model


def _restore_output_bias(model: Any, weights: Sequence[Path]) -> tuple[str, ...]:
    """Fill the masked-LM head's output bias, which the flexible head leaves at zero; return its names there.

    The files, one or more, hold the tied pair `lm_head.bias` and `lm_head.decoder.bias` once, and `adapters` looks for
    the latter alone.
    """
    if MASKED_LM_HEAD not in model.heads:
        return ()
    bias = model.heads[MASKED_LM_HEAD].get_output_embeddings().bias
    for shard in weights:
        with safe_open(shard, framework="pt") as file:
            for name in set(file.keys()) & set(_OUTPUT_BIAS):
                bias.data.copy_(file.get_tensor(name))
                return tuple(name for name, parameter in model.named_parameters() if parameter is bias)
    return ()


def _max_length(config: Any) -> int:
    # RoBERTa numbers positions from padding_idx + 1.
    offset = 0 if config.model_type == "bert" else config.pad_token_id + 1
    return int(config.max_position_embeddings) - offset


def _supported() -> str:
    return ", ".join(ARCHITECTURES.values())
