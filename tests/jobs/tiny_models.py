"""Random models of every family, a few thousand parameters each, saved as real model directories."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny_backbone import MODELS as ENCODERS
from tiny_backbone import WORDS, make_backbone, word_tokenizer
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MT5Config,
    MT5ForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from jobs.files.digest import directory_digest
from jobs.spec import BackboneRef

VOCABULARY = WORDS + 5
_DECODER = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 64, "head_dim": 8,
    "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "initializer_range": 0.2,
}  # fmt: skip
_T5 = {
    "vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4,
    "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "initializer_factor": 0.5,
}  # fmt: skip
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_DECODER)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**_DECODER)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**_DECODER)),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**{**_DECODER, "head_dim": 16})),
    "gemma2": lambda: Gemma2ForCausalLM(
        Gemma2Config(**_DECODER, sliding_window=8, final_logit_softcapping=3.0, query_pre_attn_scalar=8)
    ),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64, eos_token_id=2)
    ),
    "t5": lambda: T5ForConditionalGeneration(T5Config(**_T5)),
    "mt5": lambda: MT5ForConditionalGeneration(MT5Config(**_T5, feed_forward_proj="gated-gelu")),
}
FAMILIES = {
    **dict.fromkeys(MODELS, "decoder"),
    "t5": "encoder-decoder",
    "mt5": "encoder-decoder",
    **dict.fromkeys(ENCODERS, "encoder"),
}


def make_model(directory: Path, name: str) -> BackboneRef:
    """Save the model called `name` with the word tokenizer into `directory`."""
    if name in ENCODERS:
        return make_backbone(directory, name)
    torch.manual_seed(7)
    MODELS[name]().save_pretrained(directory)
    word_tokenizer().save_pretrained(directory)
    return BackboneRef(name, directory_digest(directory), str(directory))
