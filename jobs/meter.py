"""What is worth watching of a device while it trains: memory, and on a GPU how much of its peak is used."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable, Sequence

import torch

from jobs.flops import ModelShape, training_flops
from jobs.tokens.batches import Example

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


class Meter:
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
