"""What a bank trains, and the frozen backbone that its members pass together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from jobs.spec import JobCall, JobResult
from jobs.tokens.batches import Example
from jobs.training.checkpoint import Snapshot
from jobs.training.learner import Learner
from jobs.training.throughput import ModelShape


class Member(Protocol):
    """One adapter in training: its data, its stream of batches, and its learner."""

    @property
    def call(self) -> JobCall[Any]:
        """What is asked for."""

    @property
    def learner(self) -> Learner:
        """Weights, optimizer and progress."""

    def next_batch(self) -> list[Example]:
        """The next batch of this member's own stream."""

    def resume(self, time: int | None) -> None:
        """Go on from the checkpoint at `time` (else the newest), if there is a readable one; say what was wrong."""

    def snapshot(self) -> Snapshot:
        """What a checkpoint of this moment holds."""

    def write(self) -> None:
        """Write the best state as an adapter directory."""

    def result(self) -> JobResult:
        """What the record says of a finished training."""


M = TypeVar("M", bound=Member)


class Passes(Protocol[M]):
    """A frozen backbone that members go through, each with its own adapter on its own rows."""

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""

    @property
    def shape(self) -> ModelShape:
        """What arithmetic it needs."""

    def start(self, call: JobCall[Any]) -> M:
        """Read a member's data. Raises InputError for what the user can mend."""

    def losses(self, members: Sequence[M], groups: Sequence[list[Example]]) -> tuple[Tensor, Sequence[Tensor]]:
        """Mean loss of each member over the labels of its group [members], and the gradients [size] of these means.

        The mean of an empty group is NaN.
        """

    def held_out_values(self, members: Sequence[M]) -> list[float]:
        """What the current weights of each are worth on its held-out data, in the sense of `Learner.better`."""
