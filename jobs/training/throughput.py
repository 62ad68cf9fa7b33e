"""What is worth watching of a device while it trains: memory, and on a GPU how much of its peak is used."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from jobs.models.peft.sites import linear_sizes
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
        total += _PASSES * (shape.matrices * length + shape.source_matrices * source + shape.head * len(row.positions))
        total += _ATTENTION * shape.attention * squares
    return total


# Dense bfloat16 operations a second, from the makers' data sheets, by a part of the device's name; first match wins.
PEAKS: tuple[tuple[str, float], ...] = (
    ("B200", 2250e12),
    ("GH200", 989e12),
    ("H200", 989e12),
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("A100", 312e12),
    ("L40S", 362e12),
    ("L40", 181e12),
    ("L4", 121e12),
    ("A10G", 70e12),
    ("A10", 125e12),
    ("RTX 4090", 165e12),
    ("RTX 3090", 71e12),
)


def peak_flops(name: str) -> float | None:
    """The peak of the device called `name`; None where it is not known."""
    return next((peak for part, peak in PEAKS if part in name), None)


class Throughput:
    """Counts the arithmetic of a bank's batches and the time that they took."""

    def __init__(self, shape: ModelShape, device: torch.device, workers: int) -> None:
        """`workers` share each batch, every one on a device like this."""
        self._shape, self._device, self._workers = shape, device, workers
        on_gpu = device.type == "cuda"
        self._peak = peak_flops(torch.cuda.get_device_name(device)) if on_gpu else None
        self._flops = self._seconds = 0.0

    def add(self, groups: Iterable[Sequence[Example]], seconds: float) -> None:
        """One batch: the rows of all languages, and how long its losses and gradients took."""
        self._flops += sum(training_flops(self._shape, group) for group in groups)
        self._seconds += seconds

    def live(self) -> dict[str, float]:
        """`memory_bytes`: the most that was held so far; `mfu`: on a GPU of known peak, its share that was used."""
        mfu = self._mfu()
        return {"memory_bytes": self._memory(), **({} if mfu is None else {"mfu": mfu})}

    def record(self) -> dict[str, float]:
        """The same for a record; nothing for a CPU, where other programs' work shows in both."""
        if self._device.type != "cuda":
            return {}
        return self.live()

    def _mfu(self) -> float | None:
        if self._peak is None or not self._seconds:
            return None
        return self._flops / self._seconds / self._workers / self._peak

    def _memory(self) -> float:
        if self._device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self._device))
        # Linux counts in KiB, macOS in bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
