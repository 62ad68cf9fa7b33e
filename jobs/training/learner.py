"""One adapter in training: its weights, optimizer, schedule, curves and best state, apart from all others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from jobs.spec import TrainingConfig
from jobs.training.data_parallel import DataParallel
from jobs.training.progress import TrainingState

# What torch adds to a norm when it clips: below it clipping would multiply by one.
_EPSILON = 1e-6


class Learner(TrainingState):
    """An adapter as one float32 vector with its own AdamW, schedule, gradient clipping and best state."""

    def __init__(self, vector: Tensor, decayed: int, training: TrainingConfig, better: Literal["min", "max"]) -> None:
        """`vector` [size] is taken over and trained in place; weight decay applies to its first `decayed` elements.

        `better`: whether a lower or a higher evaluation is better.
        """
        self.vector = vector
        super().__init__(training, better)
        self.best = vector.clone()
        self._gradient = torch.zeros_like(vector)
        self._parts = [vector[:decayed], vector[decayed:]]
        groups = [
            {"params": [self._parts[0]], "weight_decay": training.weight_decay},
            {"params": [self._parts[1]], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=training.learning_rate, fused=True)
        for part in self._parts:
            self._optimizer.state[part] = {
                "step": torch.tensor(0.0, device=vector.device),
                "exp_avg": torch.zeros_like(part),
                "exp_avg_sq": torch.zeros_like(part),
            }

    def learn(self, gradient: Tensor, loss: float, tokens: int, labels: int) -> None:
        """Take over one batch's gradient [size] and mean loss, both over `labels` labels.

        Every `gradient_accumulation` batches make a step, whose gradient is that of the mean over the labels of all of
        them. Raises DivergedError when loss or gradient is not finite; the best state so far stays as it is.
        """
        self.batch_made(loss, tokens, labels)
        if self.training.gradient_accumulation == 1:
            self._step(gradient)
            return
        self._gradient.add_(gradient, alpha=self.training.weight_of(labels))
        if self.progress.batches % self.training.gradient_accumulation == 0:
            self._step(self._gradient.div_(self.progress.weight))
            self._gradient.zero_()

    def record_evaluation(self, value: float) -> None:
        """Note the held-out value of the current weights and keep them when they are the best so far."""
        if self.evaluated(value):
            self.best.copy_(self.vector)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain values from which `restore` goes on exactly."""
        states = [self._optimizer.state[part] for part in self._parts]
        tensors = {
            "weights": self.vector,
            "best": self.best,
            "gradient": self._gradient,
            "exp_avg": torch.cat([state["exp_avg"] for state in states]),
            "exp_avg_sq": torch.cat([state["exp_avg_sq"] for state in states]),
        }
        return {name: tensor.detach().cpu() for name, tensor in tensors.items()}, self.plain()

    def restore(self, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
        """Go on from `state()`. Raises ValueError or KeyError when it is of another shape."""
        names = ("weights", "best", "gradient", "exp_avg", "exp_avg_sq")
        wrong = [name for name in names if tensors[name].shape != self.vector.shape]
        if wrong:
            raise ValueError(f"{wrong[0]} has shape {list(tensors[wrong[0]].shape)}, not {list(self.vector.shape)}")
        self.go_on(progress)
        self.vector.copy_(tensors["weights"])
        self.best.copy_(tensors["best"])
        self._gradient.copy_(tensors["gradient"])
        decayed = len(self._parts[0])
        for part, piece in zip(self._parts, (slice(0, decayed), slice(decayed, None)), strict=True):
            state = self._optimizer.state[part]
            state["step"].fill_(float(self.progress.optimizer_steps))
            state["exp_avg"].copy_(tensors["exp_avg"][piece])
            state["exp_avg_sq"].copy_(tensors["exp_avg_sq"][piece])

    def follow(self, team: DataParallel) -> None:
        """Take the state of the team's first worker, the one that read the checkpoint."""
        if team.size == 1:
            return
        tensors, progress = self.state()
        kept = team.all_gather(progress)[0]
        device = self.vector.device
        self.restore({name: team.broadcast(tensor.to(device, copy=True)) for name, tensor in tensors.items()}, kept)

    def _step(self, gradient: Tensor) -> None:
        decayed = len(self._parts[0])
        for part, own in zip(self._parts, (gradient[:decayed], gradient[decayed:]), strict=True):
            part.grad = own
        total = torch.nn.utils.get_total_norm([part.grad for part in self._parts if part.grad is not None])
        norm, most = float(total), self.training.max_grad_norm or math.inf
        if norm + _EPSILON > most:
            torch.nn.utils.clip_grads_with_norm_(self._parts, most, total)
        if math.isfinite(norm):
            for group in self._optimizer.param_groups:
                group["lr"] = self.learning_rate
            self._optimizer.step()
        # The bank's gradients are one tensor, which would be kept until the next step.
        self._optimizer.zero_grad()
        self.step_made(norm)
