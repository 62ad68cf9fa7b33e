"""Cross-entropy of masked positions against a frozen vocabulary matrix, without keeping any logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jobs.bank import BankWeights
from jobs.encoder import FrozenEncoder, Rows
from jobs.frozen_linear import frozen_linear

# Logits that exist at one time: 64 MiB in float32.
_LOGITS = 1 << 24


@dataclass(frozen=True, slots=True)
class MaskedRows:
    """Rows whose wanted places are the masked positions; `labels` [M]: the tokens there, group after group."""

    rows: Rows
    labels: Tensor


class _FrozenCrossEntropy(torch.autograd.Function):
    """Loss of each position; the matrix is frozen, so only the hidden states get a gradient, made at once."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, labels: Tensor) -> Tensor:
        losses = torch.empty(len(hidden), device=hidden.device)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        rows = max(1, _LOGITS // len(weight))
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            logits = frozen_linear(hidden[part], weight, bias).float()
            own = logits.gather(1, labels[part, None])
            peak = logits.amax(1, keepdim=True)
            exponentials = logits.sub_(peak).exp_()
            total = exponentials.sum(1, keepdim=True)
            losses[part] = (total.log() + peak - own)[:, 0]
            if gradient is not None:
                # Softmax minus one-hot, times the matrix; dividing after the product saves a pass over the logits.
                gradient[part] = frozen_linear(exponentials, weight.t(), None) / total - weight[labels[part]]
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outputs[0][:, None].to(gradient.dtype), None, None, None


def token_losses(encoder: FrozenEncoder, batch: MaskedRows, weights: BankWeights) -> Tensor:
    """Cross-entropy in nats of each masked position, [M], group after group."""
    hidden = encoder.before_output(encoder.hidden_states(batch.rows, (weights,)), weights)
    output = encoder.head.get_output_embeddings()  # type: ignore[union-attr]
    return _FrozenCrossEntropy.apply(hidden[batch.rows.valid], output.weight, output.bias, batch.labels)  # type: ignore


def group_sums(losses: Tensor, valid: Tensor) -> Tensor:
    """Sum of `losses` [M] for each group of `valid` [G, K] -> [G]. Groups do not touch each other."""
    counts = valid.sum(1).tolist()
    return torch.stack([part.sum() for part in torch.split(losses, counts)])
