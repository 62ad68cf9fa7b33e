"""How large a backbone with its adapter is, without reading a weight."""

from __future__ import annotations

import dataclasses
from typing import Any

import peft
from accelerate import init_empty_weights
from transformers import AutoModelForCausalLM

from jobs.banks.sharded.memory_model import ModelSize
from jobs.models.files import model_files, read_config
from jobs.spec import BackboneRef


def model_size(ref: BackboneRef, adapter: peft.PeftConfig) -> ModelSize:
    """Counted on a model whose tensors have shapes and no storage. Raises InputError for files that are not `ref`'s."""
    config = read_config(model_files(ref, weights=False))
    with init_empty_weights():
        model: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        model.tie_weights()
        model.requires_grad_(False)
        parameters = sum(one.numel() for one in model.parameters())
        # A saved configuration is one for inference, whose adapter is frozen.
        training = dataclasses.replace(adapter, inference_mode=False)
        wrapped = peft.get_peft_model(model, training, autocast_adapter_dtype=False)
    trainable = sum(one.numel() for one in wrapped.parameters() if one.requires_grad)
    text = config.get_text_config()
    return ModelSize(parameters, trainable, text.num_hidden_layers, text.hidden_size, text.vocab_size)
