"""Products with frozen matrices: no gradient for the matrix, oneDNN's float32 kernels on a CPU, and the cross-entropy
against a vocabulary matrix, a part of the logits at a time and none of them kept.

PyTorch sends float32 products on a CPU to MKL, which on processors other than Intel's leaves half of the vector
width unused: oneDNN computes the same sums in half the time there (215 against 100 GFLOP/s on one core of an AMD
EPYC), from the matrices as they are, without packed copies.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn


def frozen_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Map x [..., n] to x W^T + b [..., m], with a frozen weight [m, n] and bias [m]; only `x` gets a gradient."""
    if not _onednn_serves(x, weight):
        return torch.nn.functional.linear(x, weight, bias)
    flat = x.reshape(-1, x.shape[-1])
    result: Tensor = _OneDnnLinear.apply(flat, weight, bias)  # type: ignore[no-untyped-call]
    return result.view(*x.shape[:-1], len(weight))


def freeze_linear(model: nn.Module) -> None:
    """Let every linear module of a frozen model compute by `frozen_linear`; its names and weights stay."""

    def forward(module: nn.Linear, x: Tensor) -> Tensor:
        return frozen_linear(x, module.weight, module.bias)

    for module in model.modules():
        if type(module) is nn.Linear:
            module.forward = MethodType(forward, module)  # type: ignore[method-assign]


def _onednn_serves(x: Tensor, weight: Tensor) -> bool:
    """Float32 on a CPU with oneDNN, outside autocast: everything else has its own fast kernels."""
    floats = x.dtype == weight.dtype == torch.float32
    on_cpu = x.device.type == weight.device.type == "cpu"
    return floats and on_cpu and torch._C._has_mkldnn and not torch.is_autocast_enabled("cpu")


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


class _OneDnnLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.weight = weight
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _product(gradients[0].contiguous(), ctx.weight.t(), None), None, None


# Of a tile of logits. On a CPU its part of the matrix is still in the cache when the gradient needs it again: the
# matrix, which at XLM-R's vocabulary is 768 MB, comes from memory once. A GPU wants few tiles, of 64 MiB in float32.
_ROWS = 4096
_COLUMNS = {"cpu": 2048}
_TILE = 1 << 24
_LOWEST = torch.finfo(torch.float32).min


class _FrozenCrossEntropy(torch.autograd.Function):
    """Loss of each position; the matrix is frozen, so only the hidden states get a gradient, made at once."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, cap: float | None
    ) -> Tensor:
        losses = torch.empty(len(hidden), device=hidden.device)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for start in range(0, len(hidden), _ROWS):
            part = slice(start, start + _ROWS)
            into = None if gradient is None else gradient[part]
            losses[part] = _losses(hidden[part], weight, bias, labels[part], cap, into)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outputs[0][:, None].to(gradient.dtype), None, None, None, None


def _losses(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, cap: float | None, gradient: Tensor | None
) -> Tensor:
    """Losses [M] of positions [M, n], and their gradient into `gradient`: (softmax minus one-hot) times the matrix.

    One pass over the vocabulary: exponentials are taken against the largest logit so far, and what was summed up is
    scaled down when a larger one comes (Milakov and Gimelshein, arXiv 1805.02867).
    """
    expected = None if gradient is None else torch.zeros(hidden.shape, device=hidden.device)
    total = torch.zeros(len(hidden), 1, device=hidden.device)
    own, peak = torch.zeros_like(total), torch.full_like(total, _LOWEST)
    columns = _COLUMNS.get(hidden.device.type, max(1, _TILE // len(hidden)))
    if hidden.dtype != weight.dtype:  # a part of the matrix is copied, and that too is bounded
        columns = min(columns, max(1, _TILE // hidden.shape[1]))
    for start in range(0, len(weight), columns):
        part = weight[start : start + columns].to(hidden.dtype)
        logits = frozen_linear(hidden, part, None if bias is None else bias[start : start + columns]).float()
        if cap is not None:
            logits = logits.div_(cap).tanh_().mul_(cap)
        slope = None if cap is None or gradient is None else _slope(logits, cap)
        place = labels[:, None] - start
        here = (place >= 0) & (place < len(part))
        own = torch.where(here, logits.gather(1, place.clamp(0, len(part) - 1)), own)
        higher = torch.maximum(peak, logits.amax(1, keepdim=True))
        shrunk, peak = peak.sub_(higher).exp_(), higher
        exponentials = logits.sub_(peak).exp_()
        total = total * shrunk + exponentials.sum(1, keepdim=True)
        if expected is not None:
            weighted = exponentials if slope is None else exponentials.mul_(slope)
            expected.mul_(shrunk).add_(frozen_linear(weighted.to(part.dtype), part.t(), None))
    if gradient is not None and expected is not None:
        label = weight[labels] if cap is None else weight[labels] * _slope(own, cap)
        gradient.copy_(expected / total - label)
    return (total.log() + peak - own)[:, 0]


def _slope(logits: Tensor, cap: float) -> Tensor:
    """Of cap * tanh(x / cap) at x, where its value is `logits`."""
    return 1 - (logits / cap).square()


def frozen_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, cap: float | None = None
) -> Tensor:
    """Cross-entropy in nats, float32 [M], of logits = hidden [M, n] times weight [V, n] transposed, plus bias [V].

    `cap`: the logits are cap * tanh(logits / cap), as Gemma 2 bounds them. Only `hidden` gets a gradient. Products are
    taken in the type of `hidden`, which `bias` has too; the matrix is cast to it a part at a time.
    """
    losses: Tensor = _FrozenCrossEntropy.apply(hidden, weight, bias, labels, cap)  # type: ignore[no-untyped-call]
    return losses


def group_sums(losses: Tensor, valid: Tensor) -> Tensor:
    """Sum of `losses` [M] for each group of `valid` [G, K] -> [G]. Groups do not touch each other."""
    counts = valid.sum(1).tolist()
    return torch.stack([part.sum() for part in torch.split(losses, counts)])
