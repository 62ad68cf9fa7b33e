"""The workers that train one bank together: who takes which rows, and how gradients become one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


class WorkerLostError(RuntimeError):
    """Another worker of the team is gone; the bank goes on from its last checkpoint with those who are left."""


@dataclass(frozen=True, slots=True)
class DataParallel:
    """`size` workers in lock-step; every method is a rendezvous of all of them. `rank` 0 writes and reports.

    Torch's DistributedDataParallel wants a module that owns its parameters and keeps the gradients on them. A bank's
    weights are vectors that are stacked anew for every pass, and its gradients are one tensor [languages, size]: one
    all-reduce of that tensor is all that DDP would do, and it leaves nothing registered when languages come and go.
    A team of one communicates nothing.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this worker writes checkpoints and results and reports progress."""
        return self.rank == 0

    def shard(self, rows: Sequence[T]) -> list[T]:
        """This worker's part of `rows`; the parts differ in length by at most one. No communication."""
        return list(rows[self.rank :: self.size])

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Sum over all workers, in place; the same bits everywhere."""
        if self.size > 1:
            self._together(lambda: dist.all_reduce(tensor))
        return tensor

    def broadcast(self, tensor: Tensor) -> Tensor:
        """The tensor of rank 0, in place."""
        if self.size > 1:
            self._together(lambda: dist.broadcast(tensor, 0))
        return tensor

    def all_gather(self, value: T) -> list[T]:
        """The (small, picklable) values of all workers by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        self._together(lambda: dist.all_gather_object(values, value))
        return values

    def main_first(self, work: Callable[[], T]) -> T:
        """Do `work` on rank 0 and then on all others: what it puts into a cache is made once.

        `work` must not raise: the others would wait.
        """
        if self.is_main:
            done = work()
        self.all_gather(None)
        return done if self.is_main else work()

    @staticmethod
    def _together(communicate: Callable[[], object]) -> None:
        try:
            communicate()
        except (RuntimeError, dist.DistBackendError) as error:
            raise WorkerLostError(f"a worker of the bank is gone: {error}") from error


def joined_data_parallel() -> DataParallel:
    """The team of torch's default process group, or a team of one where there is none."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return DataParallel()
    return DataParallel(dist.get_rank(), dist.get_world_size())


def use_own_device(device: torch.device) -> None:
    """Make `device` what "cuda" means in this process: workers of one node see one another's GPUs."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
