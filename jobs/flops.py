"""How much arithmetic training an adapter needs, from the shapes alone.

Counted is what the frozen model cannot do without: the forward pass and the gradients of its activations. Frozen
matrices have no gradients of their own, so a product costs 4 operations for each weight and token, where full training
has 6. Adapters, norms and padding are left out: what is spent on them is no use of the device for the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from jobs.models.linear_modules import linear_sizes
from jobs.tokens.batches import Example

# Forward, and the gradient of the input.
_PASSES = 4
# Scores and weighted values, forward (2 * 2) and twice as much backward.
_ATTENTION = 12


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What the count asks of a model.

    `matrices`: weights that every token of a row meets; `source_matrices`: those that every token of a T5-like model's
    source meets. `attention`: layers times heads times their width. `head`: weights of the output embeddings. `causal`:
    attention looks back alone, half of the products.
    """

    matrices: int
    source_matrices: int
    attention: int
    head: int
    causal: bool


def model_shape(model: Any, causal: bool) -> ModelShape:
    """The shape of a transformers model with a language-model head.

    A T5-like decoder's attention to the source is counted as if the source were as long as the target.
    """
    config, head = model.config.get_text_config(decoder=True), model.get_output_embeddings()
    own = source = 0
    for path, module in model.named_modules():
        sizes = linear_sizes(module)
        if sizes is None or module is head or "pooler" in path:
            continue
        if model.config.is_encoder_decoder and path.startswith("encoder."):
            source += sizes[0] * sizes[1]
        else:
            own += sizes[0] * sizes[1]
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or getattr(config, "d_kv", None) or config.hidden_size // heads)
    return ModelShape(own, source, config.num_hidden_layers * width, head_size(head), causal)


def head_size(head: nn.Module) -> int:
    """Weights of the output embeddings."""
    sizes = linear_sizes(head)
    return 0 if sizes is None else sizes[0] * sizes[1]


def training_flops(shape: ModelShape, rows: Iterable[Example]) -> float:
    """Floating-point operations of one pass with gradients over `rows`, without padding."""
    total = 0.0
    for row in rows:
        length, source = len(row.ids), 0 if row.source is None else len(row.source)
        squares = length * length * (0.5 if shape.causal else 1.0) + source * source + source * length
        total += _PASSES * (shape.matrices * length + shape.source_matrices * source + shape.head * len(row.places))
        total += _ATTENTION * shape.attention * squares
    return total
