"""A frozen language model of any transformers family, loaded as the plain library has it.

The `adapters` library knows encoders alone; here the module names are those that PEFT sees, so that an adapter
trained on such a model is PEFT's own. (MAD-X adapters go through `jobs.models.madx_backbone`.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from jobs.errors import Fault, InputError
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
from jobs.models.frozen_linear import freeze_linear
from jobs.models.vocabulary_head import VocabularyHead, vocabulary_head
from jobs.runtime.device_memory import available_bytes, in_gib
from jobs.runtime.machine import device_type
from jobs.runtime.phases import phase
from jobs.runtime.precision import Precision, training_precision
from jobs.spec import BackboneRef, Objective

Family = Literal["encoder", "decoder", "encoder-decoder"]
OBJECTIVES: dict[Family, tuple[Objective, ...]] = {
    "encoder": ("masked-lm",),
    "decoder": ("causal-lm", "prefix-lm"),
    "encoder-decoder": ("prefix-lm",),
}
# Models with relative positions (T5) read any length; this only has to be beyond what fits a memory.
_ANY_LENGTH = 1 << 20


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A frozen model in evaluation mode with its tokenizer.

    `head`: its output embeddings and what the model does to their logits. `max_length`: the longest input in tokens.
    `pad_id` fills up rows; it is never attended to and never predicted. `notes`: what was done about the tokenizer,
    for the record.
    """

    ref: BackboneRef
    family: Family
    model: Any
    tokenizer: Any
    head: VocabularyHead
    max_length: int
    pad_id: int
    notes: tuple[str, ...] = ()

    @property
    def device(self) -> torch.device:
        """Where the model's weights are."""
        device: torch.device = self.model.device
        return device

    @property
    def start_id(self) -> int:
        """The token that an encoder-decoder's decoder begins with."""
        return int(self.model.config.decoder_start_token_id)


@phase("loading")
def load_language_model(
    ref: BackboneRef,
    device: torch.device | str | None = None,
    precision: Callable[[str, bool], Precision] = training_precision,
) -> LanguageModel:
    """Load the model of `ref`, frozen, on `device` (default: the GPU if there is one, else the CPU).

    `precision` of the weights, from the type of the device and whether the model is an encoder: see
    `jobs.runtime.precision`. Only safetensors weights are read and no code from the files is run. Raises InputError for
    a path that is no model directory, files that are not the pinned revision, an architecture without a language-model
    head, missing weights, a tokenizer that is missing, does not fit or has neither a padding nor an end token, and a
    head whose logits are made in an unknown way.
    """
    files = model_files(ref)
    config = read_config(files)
    family = _family(config, files.named)
    weights = check_weights(files, config)
    with settings_faults(files):
        vocabulary: int = config.get_text_config(decoder=family != "encoder").vocab_size
        max_length = _max_length(config)
    tokenizer = read_tokenizer(files, vocabulary)
    notes = _ensure_padding(tokenizer, files.named)
    target = torch.device(device or device_type())
    dtype: torch.dtype = getattr(torch, precision(target.type, family == "encoder"))
    _check_room(files, weights, config, target, dtype)
    model = _model(files, config, family, dtype)
    model.requires_grad_(False)
    model.eval()
    model.to(target)
    freeze_linear(model)
    with settings_faults(files):  # tokens pass for the first time
        head = vocabulary_head(model, family == "encoder-decoder", f"backbone {files.named}")
    return LanguageModel(ref, family, model, tokenizer, head, max_length, tokenizer.pad_token_id, notes)


def require_objective(model: LanguageModel, objective: Objective) -> None:
    """Raise InputError unless the model can be trained by `objective`."""
    known = OBJECTIVES[model.family]
    if objective not in known:
        todo = f"a model of this family ({model.family}) learns by {' or '.join(known)}"
        raise InputError(Fault("the backbone cannot learn by this objective", model.ref.name, objective, todo))
    if objective == "masked-lm" and model.tokenizer.mask_token_id is None:
        todo = "choose another backbone"
        raise InputError(Fault("the tokenizer has no mask token, so masked LM is impossible", model.ref.name, "", todo))


def _family(config: Any, source: str) -> Family:
    kind = config.model_type
    if config.is_encoder_decoder and kind in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        return "encoder-decoder"
    # Encoders such as BERT stand in the table of causal models too, as decoders that nobody trains.
    if kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.is_decoder:
        return "encoder"
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "decoder"
    todo = "use an encoder with a masked-LM head, a decoder, or a T5-like model"
    raise InputError(Fault("this architecture has no language-model head", f"backbone {source}", kind, todo))


def _ensure_padding(tokenizer: Any, source: str) -> tuple[str, ...]:
    if tokenizer.pad_token_id is not None:
        return ()
    if tokenizer.eos_token_id is None:
        todo = "save a tokenizer with a padding or an end token"
        raise InputError(Fault("the tokenizer has neither a padding nor an end token", f"backbone {source}", "", todo))
    tokenizer.pad_token = tokenizer.eos_token
    return ("the tokenizer has no padding token: its end token fills up rows",)


_CLASSES = {"encoder": AutoModelForMaskedLM, "decoder": AutoModelForCausalLM, "encoder-decoder": AutoModelForSeq2SeqLM}


def _model(files: ModelFiles, config: Any, family: Family, dtype: torch.dtype) -> Any:
    # The fused attention of PyTorch leaves out the capping of attention scores that Gemma 2 has.
    capped = getattr(config, "attn_logit_softcapping", None) is not None
    options = {**loading(config), **({"attn_implementation": "eager"} if capped else {})}
    with quiet_loading(files):
        model, report = _CLASSES[family].from_pretrained(
            files.folder, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True, **options
        )
    refuse_lost(files, list(report["missing_keys"]))
    return model


def _check_room(
    files: ModelFiles, weights: Sequence[Path], config: Any, device: torch.device, dtype: torch.dtype
) -> None:
    """Raise InputError when the weights are more than the device has room for."""
    stored = sum(file.stat().st_size for file in weights)
    needed = stored * dtype.itemsize // (config.dtype or torch.float32).itemsize
    free = available_bytes(device)
    if needed > free:
        got = f"{in_gib(needed)} of weights, {in_gib(free)} free"
        todo = "use a larger device, or shard the backbone over several"
        raise InputError(Fault("the backbone does not fit the device's memory", f"backbone {files.named}", got, todo))


def _max_length(config: Any) -> int:
    text = config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None) or _ANY_LENGTH
    # RoBERTa numbers positions from padding_idx + 1.
    offset = text.pad_token_id + 1 if "roberta" in text.model_type else 0
    return int(positions) - offset
