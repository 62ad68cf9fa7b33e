"""Sizes, timing and memory for the benchmark of merging."""

from __future__ import annotations

import ctypes
import gc
import math
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Result = dict[str, Any]
Shapes = dict[str, tuple[int, ...]]
Result = dict[str, Any]


def madx_shapes(hidden: int = 768, layers: int = 12, reduction: int = 2) -> Shapes:
    """A MAD-X language adapter with NICE for XLM-R base."""
    width, half = hidden // reduction, hidden // 2
    shapes: Shapes = {}
    for layer in range(layers):
        stem = f"roberta.encoder.layer.{layer}.output.adapters.*"
        shapes[f"{stem}.adapter_down.0.weight"], shapes[f"{stem}.adapter_down.0.bias"] = (width, hidden), (width,)
        shapes[f"{stem}.adapter_up.weight"], shapes[f"{stem}.adapter_up.bias"] = (hidden, width), (hidden,)
    for block in "FG":
        stem = f"roberta.invertible_adapters.*.{block}"
        shapes[f"{stem}.0.weight"], shapes[f"{stem}.0.bias"] = (half // 2, half), (half // 2,)
        shapes[f"{stem}.2.weight"], shapes[f"{stem}.2.bias"] = (half, half // 2), (half,)
    return shapes


def lora_shapes(rank: int = 64, hidden: int = 4096, wide: int = 11008, layers: int = 32) -> Shapes:
    """LoRA on all seven matrices of every layer of a 7B Llama."""
    sides = {"q": (hidden, hidden), "k": (hidden, hidden), "v": (hidden, hidden), "o": (hidden, hidden)}
    modules = {f"self_attn.{name}_proj": side for name, side in sides.items()}
    modules |= {"mlp.gate_proj": (wide, hidden), "mlp.up_proj": (wide, hidden), "mlp.down_proj": (hidden, wide)}
    shapes: Shapes = {}
    for layer in range(layers):
        for module, (rows, columns) in modules.items():
            stem = f"base_model.model.model.layers.{layer}.{module}"
            shapes[f"{stem}.lora_A.weight"], shapes[f"{stem}.lora_B.weight"] = (rank, columns), (rows, rank)
    return shapes


SIZES: Mapping[str, tuple[Callable[[], Shapes], str]] = {
    "XLM-R base MAD-X, float32": (madx_shapes, "float32"),
    "7B LoRA r=64, bfloat16": (lora_shapes, "bfloat16"),
    "7B LoRA r=64, float32": (lora_shapes, "float32"),
}
WEIGHTS = (0.35, 0.65)


def sources(size: str, count: int = 2) -> list[dict[str, Any]]:
    """Random sources of a size."""
    import torch

    shapes, dtype = SIZES[size]
    generator = torch.Generator().manual_seed(0)
    kind = getattr(torch, dtype)
    return [
        {name: torch.randn(shape, generator=generator).mul_(0.02).to(kind) for name, shape in shapes().items()}
        for _ in range(count)
    ]


def total_bytes(states: list[dict[str, Any]]) -> int:
    """Bytes of all tensors together."""
    return sum(tensor.numel() * tensor.element_size() for state in states for tensor in state.values())


class PeakMemory:
    """The largest anonymous memory of this process inside a `with`, above what it was at the start."""

    def __enter__(self) -> PeakMemory:
        self._start, self.growth, self._stop = _anonymous(), 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            self.growth = max(self.growth, _anonymous() - self._start)

    def __exit__(self, *error: object) -> None:
        self.growth = max(self.growth, _anonymous() - self._start)
        self._stop.set()
        self._thread.join()


def _anonymous() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon"))


def timed(action: Callable[[], object], repeats: int = 5, warm: bool = True) -> float:
    """Best processor time of several runs, in seconds: other programs on the machine do not count."""
    if warm:
        action()
    best = math.inf
    for _ in range(repeats):
        start = time.process_time()
        action()
        best = min(best, time.process_time() - start)
    return best


def peak_of(action: Callable[[], object]) -> int:
    """Growth of anonymous memory during one run; apart from timing, which the watcher would disturb."""
    gc.collect()
    # Memory that earlier runs freed is given back first: reusing it would not show as growth.
    ctypes.CDLL(None).malloc_trim(0)
    with PeakMemory() as peak:
        action()
    return peak.growth


def result(what: str, size: str, seconds: float, amount: int, peak: int | None = None) -> Result:
    """One line of the report."""
    line: Result = {"what": what, "size": size, "seconds": seconds, "bytes": amount}
    line["gigabytes_per_second"] = amount / seconds / 1e9
    if peak is not None:
        line["peak_memory_bytes"] = peak
    return line
