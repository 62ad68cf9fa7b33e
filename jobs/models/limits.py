"""What a model's config.json says of what it can be asked to do; planning reads it without any library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Decoders whose files say by this key how many positions they have.
_N_POSITIONS = ("codegen", "ctrl", "gpt2", "gpt_bigcode", "gptj", "openai-gpt")


def longest_row(config: Mapping[str, Any]) -> int | None:
    """The longest row in tokens that the model of the document `config` reads; None where it does not tell."""
    kind, padding = str(config.get("model_type")), config.get("pad_token_id", 1)
    positions = config.get("n_positions" if kind in _N_POSITIONS else "max_position_embeddings")
    if type(positions) is not int:
        return None
    # RoBERTa numbers positions from padding_idx + 1.
    numbered = "roberta" in kind and type(padding) is int
    return positions - (padding + 1 if numbered else 0)
