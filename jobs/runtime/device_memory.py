"""How much memory a device has left, and what a pass keeps of it for its gradients."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

_GROUP_LIMITS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)
_GIB = 2**30


def available_bytes(device: torch.device) -> int:
    """Bytes that this process can still take on `device`.

    A GPU: what is free, and what PyTorch holds without using it. A CPU: what the kernel says is available, and at
    most what the process's control group has left.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    found = [_machine_bytes(), *(left for pair in _GROUP_LIMITS if (left := _group_bytes(*pair)) is not None)]
    return min(found)


def in_gib(count: float) -> str:
    """`3.2 GiB`."""
    return f"{count / _GIB:.1f} GiB"


def _machine_bytes() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        # Not Linux: nothing is known, so nothing is refused.
        return 1 << 62
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 1 << 62)


def _group_bytes(limit: Path, used: Path) -> int | None:
    try:
        most, current = limit.read_text().strip(), used.read_text().strip()
    except OSError:
        return None
    return max(0, int(most) - int(current)) if most.isdigit() and current.isdigit() else None


@dataclass(slots=True)
class SavedBytes:
    """Counts what autograd keeps between a forward pass and its backward: each storage once, frozen weights not."""

    frozen: set[int]
    total: int = 0
    _seen: dict[int, Tensor] = field(default_factory=dict)

    @classmethod
    def beside(cls, weights: Iterable[Tensor]) -> SavedBytes:
        """A counter that leaves out the storages of `weights`."""
        return cls({weight.untyped_storage().data_ptr() for weight in weights})

    def counting(self) -> AbstractContextManager[object]:
        """While it lasts, tensors that are saved for a backward pass are counted."""
        return torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.frozen and storage.data_ptr() not in self._seen:
            # Kept alive, so that no other storage can get its address.
            self._seen[storage.data_ptr()] = tensor
            self.total += storage.nbytes()
        return tensor
