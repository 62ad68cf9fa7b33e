"""The frozen encoder (XLM-R, RoBERTa, BERT) with adapters applied group by group, and its masked-LM head.

It reads the weights of the loaded backbone and computes what `adapters` computes with the same adapters active, in
evaluation mode, or with the backbone's dropout where rows bring it along (`jobs.models.row_dropout`: masks that depend
on the row alone, so that a language's result cannot depend on its bank).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import get_activation

from jobs.models.frozen_linear import frozen_cross_entropy, frozen_linear
from jobs.models.madx import BankWeights
from jobs.models.madx_backbone import Backbone, MaskedLmHead
from jobs.models.row_dropout import Dropout
from jobs.models.rows import MaskedRows, Rows


class MaskedLmEncoder(Protocol):
    """An encoder with adapters applied group by group."""

    head: MaskedLmHead | None
    device: torch.device

    def hidden_states(self, rows: Rows, stack: Sequence[BankWeights]) -> Tensor:
        """Final hidden states [G, K, hidden] at the wanted positions, with the adapters of `stack` in their order."""


class FrozenEncoder:
    """The backbone's weights, ready for grouped passes."""

    def __init__(self, backbone: Backbone) -> None:
        """Take references to the weights; only the three attention projections are copied, into one matrix."""
        base, config = backbone.model.base_model, backbone.model.config
        self.embeddings = base.embeddings
        self.first_position = 0 if config.model_type == "bert" else config.pad_token_id + 1
        self.heads: int = config.num_attention_heads
        self.activation: Callable[[Tensor], Tensor] = base.encoder.layer[0].intermediate.intermediate_act_fn
        self.layers = list(base.encoder.layer)
        self.projections = [_fused_projection(layer.attention.self) for layer in self.layers]
        self.copies = tuple(part for pair in self.projections for part in pair)
        self.head = backbone.head
        self.device = backbone.device

    def hidden_states(self, rows: Rows, stack: Sequence[BankWeights]) -> Tensor:
        """Final hidden states [G, K, hidden] at the wanted positions, with the adapters of `stack` in their order.

        The invertible adapter of the first one alone is applied, as `adapters` does. In the last layer all
        position-wise work is done at the wanted positions only.
        """
        groups = rows.positions.shape[0]
        each = None if rows.dropout is None else rows.dropout.positions(rows.ids.shape[1])
        x = self._embed(rows, stack[0], groups, each)
        drop = each and each.reshape(groups, -1)
        mask = None if rows.keep is None else rows.keep[:, None, None, :]
        last = len(self.layers) - 1
        for index in range(len(self.layers)):
            context = self._attend(index, x, mask, each).reshape(groups, -1, x.shape[-1])
            x = x.reshape(context.shape)
            if index == last:
                context, x, drop = (
                    chosen(context, rows.positions),
                    chosen(x, rows.positions),
                    drop and drop.at(rows.positions),
                )
            x = self._after_attention(index, context, x, stack, drop)
            if index < last:
                x = x.reshape(*rows.ids.shape, -1)
        return x

    def _embed(self, rows: Rows, weights: BankWeights, groups: int, drop: Dropout | None) -> Tensor:
        tables, ids = self.embeddings, rows.ids
        positions = torch.arange(self.first_position, self.first_position + ids.shape[1], device=ids.device)
        total = tables.word_embeddings(ids) + tables.position_embeddings(positions)
        types = tables.token_type_embeddings
        # XLM-R and RoBERTa know one type alone.
        own = types.weight[0] if rows.types is None or types.num_embeddings == 1 else types(rows.types)
        x = _dropped(normed(total + own, tables.LayerNorm), drop, 0)
        if weights.coupling is None:
            return x
        return weights.coupling.forward(x.reshape(groups, -1, x.shape[-1]), weights.activation).reshape(x.shape)

    def _attend(self, index: int, x: Tensor, mask: Tensor | None, drop: Dropout | None) -> Tensor:
        weight, bias = self.projections[index]
        projected = frozen_linear(x, weight, bias).view(*x.shape[:2], 3, self.heads, -1)
        q, k, v = projected.permute(2, 0, 3, 1, 4)
        if drop is None:
            context = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        else:
            scores = q @ k.mT / math.sqrt(q.shape[-1])
            scores = scores if mask is None else scores.masked_fill(~mask, -math.inf)
            context = drop.attention(scores.softmax(-1), 3 * index + 1).to(v.dtype) @ v
        return context.transpose(1, 2).flatten(2)

    def _after_attention(
        self, index: int, context: Tensor, x: Tensor, stack: Sequence[BankWeights], drop: Dropout | None
    ) -> Tensor:
        layer = self.layers[index]
        output = layer.attention.output
        x = normed(_dropped(_linear(context, output.dense), drop, 3 * index + 2) + x, output.LayerNorm)
        inner = self.activation(_linear(x, layer.intermediate.dense))
        # "Pfeiffer": s = FFN(x) + x, then s + A(LN(s)) for each adapter in turn, then the layer's own LN.
        total = _dropped(_linear(inner, layer.output.dense), drop, 3 * index + 3) + x
        for weights in stack:
            bottleneck = weights.layers.get(index)
            if bottleneck is not None:
                total = total + bottleneck(normed(total, layer.output.LayerNorm), weights.activation)
        return normed(total, layer.output.LayerNorm)


def token_losses(encoder: MaskedLmEncoder, batch: MaskedRows, weights: BankWeights) -> Tensor:
    """Cross-entropy in nats of each masked position, [M], group after group."""
    head = encoder.head
    assert head is not None, "checked by require_masked_lm"
    hidden = head.before_output(encoder.hidden_states(batch.rows, (weights,)))
    if weights.coupling is not None:
        hidden = weights.coupling.inverse(hidden, weights.activation)
    return frozen_cross_entropy(hidden[batch.rows.valid], head.weight, head.bias, batch.labels)


def activation_named(name: str) -> Callable[[Tensor], Tensor]:
    """The activation of an adapter's configuration, as `adapters` finds it."""
    activation: Callable[[Tensor], Tensor] = (
        F.leaky_relu if name.lower() == "leakyrelu" else get_activation(name.lower())
    )
    return activation


def _fused_projection(attention: nn.Module) -> tuple[Tensor, Tensor]:
    parts = [getattr(attention, name) for name in ("query", "key", "value")]
    return torch.cat([part.weight for part in parts]).detach(), torch.cat([part.bias for part in parts]).detach()


def chosen(x: Tensor, positions: Tensor) -> Tensor:
    """Rows of x [G, N, hidden] at positions [G, K] -> [G, K, hidden]."""
    return x.gather(1, positions[..., None].expand(-1, -1, x.shape[-1]))


def _dropped(x: Tensor, drop: Dropout | None, site: int) -> Tensor:
    return x if drop is None else drop(x, site)


def _linear(x: Tensor, module: nn.Module) -> Tensor:
    return frozen_linear(x, module.weight, module.bias)  # type: ignore[arg-type]


def normed(x: Tensor, module: nn.Module) -> Tensor:
    """`module`, a LayerNorm, of x, without its hooks."""
    return F.layer_norm(x, module.weight.shape, module.weight, module.bias, module.eps)  # type: ignore
