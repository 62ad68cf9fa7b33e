"""Hidden states of a text's tokens in a frozen backbone, without adapters: what languages are compared by (NN-Rank)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from jobs.errors import Fault, InputError
from jobs.models.language_model import LanguageModel
from jobs.tokens.evaluation_sets import by_length, padded_rows

# Of a longer text the first tokens count, as in the authors' code.
LONGEST = 512
_NONE = np.empty((0, 0), dtype=np.float32)


def depth_of(model: LanguageModel) -> int:
    """How many layers the model has: of a T5-like one, its encoder."""
    return int(model.model.config.get_text_config().num_hidden_layers)


def middle_layer(model: LanguageModel) -> int:
    """Two thirds of the depth: NN-Rank's layer 8 of 12."""
    return max(1, round(2 * depth_of(model) / 3))


@torch.inference_mode()
def token_states(model: LanguageModel, texts: Sequence[str], layer: int) -> NDArray[np.float32]:
    """States [tokens, hidden] behind `layer` (from 1; 0: the embeddings) of all tokens of the texts, in their order.

    Each text is a row of its own, between the tokenizer's special tokens, which are left out of the result. Raises
    InputError for a layer that the model does not have.
    """
    if not 0 <= layer <= depth_of(model):
        raise InputError(Fault("no such layer", "layer", str(layer), f"{model.ref.name} has {depth_of(model)}"))
    if not len(texts):
        return _NONE
    told = model.tokenizer(
        list(texts),
        truncation=True,
        max_length=min(model.max_length, LONGEST),
        return_special_tokens_mask=True,
        verbose=False,
    )
    rows = [np.array(ids, dtype=np.int64) for ids in told["input_ids"]]
    own = [np.array(mask) == 0 for mask in told["special_tokens_mask"]]
    kept = np.array([number for number, mask in enumerate(own) if mask.any()], dtype=np.int64)
    body = model.model.get_encoder() if model.family == "encoder-decoder" else model.model.base_model
    found: dict[int, NDArray[np.float32]] = {}
    for batch in by_length(np.array([len(rows[number]) for number in kept]), model.device):
        numbers = kept[batch].tolist()
        made = padded_rows([rows[number] for number in numbers], np.empty(0, dtype=np.int64), model)
        mask = None if made.keep is None else made.keep.long()
        states = body(input_ids=made.ids, attention_mask=mask, output_hidden_states=True).hidden_states[layer]
        for place, number in enumerate(numbers):
            found[number] = states[place, : len(rows[number])].float().cpu().numpy()[own[number]]
    ordered = [found[number] for number in kept.tolist()]
    return np.concatenate(ordered) if ordered else _NONE
