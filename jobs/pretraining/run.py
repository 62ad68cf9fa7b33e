"""A training run that, killed, goes on: steps, a checkpoint from time to time, a line of progress."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs.errors import Fault, InputError
from jobs.files.atomic import replacing

CHECKPOINT = "checkpoint.pt"
_EVERY = 100  # steps between lines of progress


def write_atomically(value: object, path: Path) -> None:
    """`torch.save` that leaves either the old file or the whole new one."""
    with replacing(path) as tmp:
        torch.save(value, tmp)


class ResumableRun(ABC):
    """One run in a working directory. What happens at a step depends on settings and step alone.

    `settings` is a dataclass with `optimizer_steps`; a checkpoint of other settings is refused with InputError.
    """

    def __init__(self, settings: Any, work: Path) -> None:
        """A run at its first step; `resume` takes up what `work` holds."""
        self.settings, self.work = settings, work
        self.step, self.tokens = 0, 0
        self.optimizer: torch.optim.Optimizer

    @abstractmethod
    def trained(self) -> Mapping[str, Tensor]:
        """What a checkpoint keeps: every tensor that training changes, by name."""

    @abstractmethod
    def advance(self) -> Mapping[str, float]:
        """One step or a few, counted in `step` and `tokens`; their losses by name."""

    def resume(self) -> None:
        """Take up the checkpoint of `work`, if there is one."""
        path = self.work / CHECKPOINT
        if not path.is_file():
            return
        state = torch.load(path, weights_only=True)
        if state["settings"] != json.dumps(asdict(self.settings)):
            raise InputError(
                Fault(
                    "this directory holds the checkpoint of a run with other settings",
                    where=str(path),
                    got=state["settings"],
                    todo="give another --work directory or remove this one",
                )
            )
        with torch.no_grad():
            for name, tensor in self.trained().items():
                tensor.copy_(state["model"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.tokens = state["step"], state["tokens"]

    def checkpoint(self) -> None:
        """Keep all that is needed to go on, replacing the checkpoint before."""
        state = {
            "settings": json.dumps(asdict(self.settings)),
            "model": dict(self.trained()),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "tokens": self.tokens,
        }
        write_atomically(state, self.work / CHECKPOINT)

    def run(self, checkpoint_seconds: float) -> None:
        """Train to the last step with a progress line every 100 steps."""
        began, first, tokens = time.monotonic(), self.step, self.tokens
        saved, window = began, []
        while self.step < self.settings.optimizer_steps:
            window.append(self.advance())
            if len(window) == _EVERY or self.step >= self.settings.optimizer_steps:
                losses = {name: sum(one[name] for one in window) / len(window) for name in window[0]}
                passed = time.monotonic() - began
                left = passed / (self.step - first) * (self.settings.optimizer_steps - self.step)
                print(
                    f"step {self.step}/{self.settings.optimizer_steps}"
                    + "".join(f"  {name} {loss:.3f}" for name, loss in losses.items())
                    + f"  {(self.tokens - tokens) / passed:,.0f} tokens/s  {left / 60:.1f} min left",
                    flush=True,
                )
                window = []
            if time.monotonic() - saved > checkpoint_seconds:
                self.checkpoint()
                saved = time.monotonic()
        self.checkpoint()
