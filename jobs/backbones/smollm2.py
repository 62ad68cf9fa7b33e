"""SmolLM2 from a GGUF file: the weights by transformers, the tokenizer from the file's own lists.

transformers' conversion of the tokenizer puts `<|im_start|>` before every text, though the file says that none is
added, and does not split digits, as the file's `smollm` pieces do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM

from jobs.backbones.files import LAYOUT_OF, write_json
from jobs.errors import Fault, InputError

_MODEL_MAX = 8192
_CONTROL = 3  # the type of control tokens in the file


def convert(gguf: Path, folder: Path) -> None:
    """Write the model's directory, in the hub's layout, into `folder`. Raises InputError for a file of another form."""
    fields = {name: field.contents() for name, field in GGUFReader(gguf).fields.items()}
    _check(fields, gguf)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, trust_remote_code=False, local_files_only=True
    )
    # The output matrix is the embedding.
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    write_json(folder / "config.json", _config(fields))
    write_json(folder / "tokenizer.json", json.loads(_tokenizer(fields).to_str()))
    tokens = fields["tokenizer.ggml.tokens"]
    special = {
        "bos_token": tokens[fields["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[fields["tokenizer.ggml.eos_token_id"]],
        "pad_token": tokens[fields["tokenizer.ggml.padding_token_id"]],
        "unk_token": tokens[fields["tokenizer.ggml.unknown_token_id"]],
    }
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": _MODEL_MAX}
    settings |= {"chat_template": fields["tokenizer.chat_template"], "clean_up_tokenization_spaces": False}
    settings["model_input_names"] = ["input_ids", "attention_mask"]
    write_json(folder / "tokenizer_config.json", {**settings, **special})
    write_json(folder / "special_tokens_map.json", special)


def _check(fields: dict[str, Any], gguf: Path) -> None:
    wanted = {"general.architecture": "llama", "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm"}
    for key, value in wanted.items():
        if fields.get(key) != value:
            raise InputError(Fault("not a GGUF file of SmolLM2", f"{gguf}: {key}", str(fields.get(key)), value))


def _config(fields: dict[str, Any]) -> dict[str, Any]:
    """As the file states it, under the library's names."""
    heads = fields["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
        "head_dim": fields["llama.embedding_length"] // heads,
        "hidden_act": "silu",
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "max_position_embeddings": fields["llama.context_length"],
        "num_attention_heads": heads,
        "num_hidden_layers": fields["llama.block_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "rms_norm_eps": float(f"{fields['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_theta": fields["llama.rope.freq_base"],
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "transformers_version": LAYOUT_OF,
        "vocab_size": fields["llama.vocab_size"],
    }


def _tokenizer(fields: dict[str, Any]) -> Tokenizer:
    """Byte-level BPE that keeps each digit apart."""
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: at for at, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    return tokenizer
