"""A small random decoder or T5-like model with the embedded tokenizer: every code path on two cores, no download.

    python -m jobs.pretraining.tiny --family llama --out build/tiny-llama

Its weights are drawn from a seed and have learned nothing: scores are those of chance until an adapter is trained, and
say nothing about a method. The same command gives the same bytes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PretrainedConfig,
    Qwen2Config,
    Qwen2ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from jobs.backbones import embedded_backbone

POSITIONS = 1024
# A wider spread than the libraries' 0.02, so that layers of such width pass something on.
SPREAD = 0.05


def build(family: str, hidden: int, layers: int, seed: int) -> tuple[Any, Any]:
    """A model of `family` ("llama", "qwen2", "t5") with random weights, and the embedded tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(embedded_backbone(), use_fast=True, trust_remote_code=False)
    tokenizer.model_max_length = POSITIONS
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _FAMILIES[family](_shared(tokenizer), hidden, layers), tokenizer


def save(family: str, out: Path, hidden: int = 96, layers: int = 3, seed: int = 0) -> None:
    """Write model and tokenizer into `out`, in the hub's layout."""
    model, tokenizer = build(family, hidden, layers, seed)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def _shared(tokenizer: Any) -> dict[str, int]:
    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def _decoder(config: type[PretrainedConfig], model: type[Any]) -> Callable[[dict[str, int], int, int], Any]:
    def make(shared: dict[str, int], hidden: int, layers: int) -> Any:
        return model(
            config(
                **shared,
                hidden_size=hidden,
                num_hidden_layers=layers,
                num_attention_heads=4,
                num_key_value_heads=2,
                intermediate_size=3 * hidden,
                max_position_embeddings=POSITIONS,
                tie_word_embeddings=True,
                initializer_range=SPREAD,
            )
        )

    return make


def _t5(shared: dict[str, int], hidden: int, layers: int) -> Any:
    config = T5Config(
        **shared,
        d_model=hidden,
        d_kv=hidden // 4,
        d_ff=3 * hidden,
        num_layers=layers,
        num_heads=4,
        decoder_start_token_id=shared["pad_token_id"],
        feed_forward_proj="gated-gelu",
    )
    return T5ForConditionalGeneration(config)


_FAMILIES: dict[str, Callable[[dict[str, int], int, int], Any]] = {
    "llama": _decoder(LlamaConfig, LlamaForCausalLM),
    "qwen2": _decoder(Qwen2Config, Qwen2ForCausalLM),
    "t5": _t5,
}


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="write a small random language model with the embedded tokenizer")
    parser.add_argument("--family", choices=sorted(_FAMILIES), default="llama")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hidden", type=int, default=96, help="width, a multiple of 8")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    save(given.family, given.out, given.hidden, given.layers, given.seed)
    print(f"{given.family}: {given.out}")


if __name__ == "__main__":
    main()
