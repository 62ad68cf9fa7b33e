"""Cross-entropy against a frozen vocabulary matrix, a part of the logits at a time and none of them kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from jobs.frozen_linear import frozen_linear

# Logits that exist at one time: 64 MiB in float32.
_LOGITS = 1 << 24


class _FrozenCrossEntropy(torch.autograd.Function):
    """Loss of each position; the matrix is frozen, so only the hidden states get a gradient, made at once."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, cap: float | None
    ) -> Tensor:
        losses = torch.empty(len(hidden), device=hidden.device)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        rows = max(1, _LOGITS // len(weight))
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            logits = frozen_linear(hidden[part], weight, bias).float()
            slope = None
            if cap is not None:
                bounded = logits.div_(cap).tanh_()
                slope = 1 - bounded.square() if gradient is not None else None
                logits = bounded.mul_(cap)
            own = logits.gather(1, labels[part, None])
            peak = logits.amax(1, keepdim=True)
            exponentials = logits.sub_(peak).exp_()
            total = exponentials.sum(1, keepdim=True)
            losses[part] = (total.log() + peak - own)[:, 0]
            if gradient is not None:
                gradient[part] = _gradient(exponentials, total, labels[part], weight, slope)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outputs[0][:, None].to(gradient.dtype), None, None, None, None


def _gradient(exponentials: Tensor, total: Tensor, labels: Tensor, weight: Tensor, slope: Tensor | None) -> Tensor:
    """(Softmax minus one-hot) times the matrix."""
    if slope is None:
        # Dividing after the product saves a pass over the logits.
        return frozen_linear(exponentials.to(weight.dtype), weight.t(), None) / total - weight[labels]
    own = slope.gather(1, labels[:, None])
    weighted = exponentials.mul_(slope).to(weight.dtype)
    return frozen_linear(weighted, weight.t(), None) / total - own.to(weight.dtype) * weight[labels]


def frozen_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, cap: float | None = None
) -> Tensor:
    """Cross-entropy in nats, float32 [M], of logits = hidden [M, n] times weight [V, n] transposed, plus bias [V].

    `cap`: the logits are cap * tanh(logits / cap), as Gemma 2 bounds them. Only `hidden` gets a gradient.
    """
    losses: Tensor = _FrozenCrossEntropy.apply(hidden, weight, bias, labels, cap)  # type: ignore[no-untyped-call]
    return losses
