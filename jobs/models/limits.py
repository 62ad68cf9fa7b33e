"""What a model's config.json says of what it can be asked to do; planning reads it without any library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Encoders that bottleneck adapters sit in, and that have heads beside LoRA and its like.
ARCHITECTURES = {"xlm-roberta": "XLM-R", "roberta": "RoBERTa", "bert": "BERT"}


def longest_row(config: Mapping[str, Any]) -> int | None:
    """The longest row in tokens that the model of the document `config` reads; None where it does not tell."""
    positions, padding = config.get("max_position_embeddings"), config.get("pad_token_id", 1)
    if type(positions) is not int:
        return None
    # RoBERTa numbers positions from padding_idx + 1.
    numbered = "roberta" in str(config.get("model_type")) and type(padding) is int
    return positions - (padding + 1 if numbered else 0)
