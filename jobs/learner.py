"""One adapter in training: its weights, optimizer, schedule, curves and best state, apart from all others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from jobs.job import JobResult
from jobs.spec import TrainingConfig
from jobs.team import Team

Curve = list[tuple[float, float]]


class DivergedError(ArithmeticError):
    """The loss or the gradient of one adapter is no longer a number."""


@dataclass(slots=True)
class Progress:
    """What is counted while training; plain values, so that a checkpoint can hold them."""

    batches: int = 0
    optimizer_steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_value: float | None = None
    best_step: int = 0
    stale: int = 0
    window: list[float] = field(default_factory=list)
    train_curve: Curve = field(default_factory=list)
    validation_curve: Curve = field(default_factory=list)


class Learner:
    """An adapter as one float32 vector with its own AdamW, linear schedule, gradient clipping and best state."""

    def __init__(self, vector: Tensor, decayed: int, training: TrainingConfig, better: Literal["min", "max"]) -> None:
        """`vector` [size] is taken over and trained in place; weight decay applies to its first `decayed` elements.

        `better`: whether a lower or a higher evaluation is better.
        """
        self.vector = vector
        self.training = training
        self.better = better
        self.best = vector.clone()
        self.progress = Progress()
        self._gradient = torch.zeros_like(vector)
        self._parts = [vector[:decayed], vector[decayed:]]
        self._gradients = [self._gradient[:decayed], self._gradient[decayed:]]
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

    @property
    def done(self) -> bool:
        """Whether all optimizer steps are made and evaluated, or `patience` evaluations brought no gain."""
        training, progress = self.training, self.progress
        all_steps = progress.optimizer_steps >= training.optimizer_steps and not self.evaluation_due
        return all_steps or 0 < training.patience <= progress.stale

    @property
    def evaluation_due(self) -> bool:
        """Whether the current weights are to be evaluated now and have not been."""
        steps = self.progress.optimizer_steps
        curve = self.progress.validation_curve
        at_interval = steps % self.training.evaluate_every == 0 or steps == self.training.optimizer_steps
        between = self.progress.batches % self.training.gradient_accumulation != 0
        return steps > 0 and at_interval and not between and not (curve and curve[-1][0] == steps)

    def live(self) -> dict[str, float]:
        """What is worth watching while training."""
        progress = self.progress
        recent = progress.window[-20:] or [value for _, value in progress.train_curve[-1:]]
        shown = {
            "optimizer_step": float(progress.optimizer_steps),
            "of": float(self.training.optimizer_steps),
            "tokens_per_second": progress.tokens / max(progress.seconds, 1e-9),
        }
        return {**shown, "loss": sum(recent) / len(recent)} if recent else shown

    def result(self, value_name: str, details: dict[str, Any]) -> JobResult:
        """The record's part of a finished training; `value_name` is what the held-out value is called."""
        progress = self.progress
        assert progress.best_value is not None, "the last optimizer step is always evaluated"
        metrics = {
            value_name: progress.best_value,
            "best_optimizer_step": float(progress.best_step),
            "optimizer_steps": float(progress.optimizer_steps),
            "train_loss": progress.train_curve[-1][1],
            "tokens": float(progress.tokens),
            "seconds": progress.seconds,
            "tokens_per_second": progress.tokens / max(progress.seconds, 1e-9),
        }
        return JobResult(metrics, {"train_loss": progress.train_curve, value_name: progress.validation_curve}, details)

    def learn(self, gradient: Tensor, loss: float, tokens: int) -> None:
        """Take one batch's gradient [size] and mean loss; every `gradient_accumulation` batches make a step.

        Raises DivergedError when loss or gradient is not finite; the best state so far stays as it is.
        """
        progress = self.progress
        if not math.isfinite(loss):
            raise DivergedError(f"the training loss is {loss} at optimizer step {progress.optimizer_steps + 1}")
        self._gradient.add_(gradient, alpha=1.0 / self.training.gradient_accumulation)
        progress.batches += 1
        progress.tokens += tokens
        progress.window.append(loss)
        if progress.batches % self.training.gradient_accumulation == 0:
            self._step()

    def record_evaluation(self, value: float) -> None:
        """Note the held-out value of the current weights and keep them when they are the best so far."""
        progress = self.progress
        if not math.isfinite(value):
            raise DivergedError(f"the held-out value is {value} at optimizer step {progress.optimizer_steps}")
        progress.validation_curve.append((progress.optimizer_steps, value))
        sign = 1.0 if self.better == "max" else -1.0
        if progress.best_value is None or sign * value > sign * progress.best_value:
            progress.best_value, progress.best_step, progress.stale = value, progress.optimizer_steps, 0
            self.best.copy_(self.vector)
        else:
            progress.stale += 1

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
        return {name: tensor.detach().cpu() for name, tensor in tensors.items()}, asdict(self.progress)

    def restore(self, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
        """Go on from `state()`. Raises ValueError or KeyError when it is of another shape."""
        names = ("weights", "best", "gradient", "exp_avg", "exp_avg_sq")
        wrong = [name for name in names if tensors[name].shape != self.vector.shape]
        if wrong:
            raise ValueError(f"{wrong[0]} has shape {list(tensors[wrong[0]].shape)}, not {list(self.vector.shape)}")
        restored = Progress(**progress)
        curves = ("train_curve", "validation_curve")
        for curve in curves:
            setattr(restored, curve, [(step, value) for step, value in getattr(restored, curve)])
        self.progress = restored
        self.vector.copy_(tensors["weights"])
        self.best.copy_(tensors["best"])
        self._gradient.copy_(tensors["gradient"])
        decayed = len(self._parts[0])
        for part, piece in zip(self._parts, (slice(0, decayed), slice(decayed, None)), strict=True):
            state = self._optimizer.state[part]
            state["step"].fill_(float(restored.optimizer_steps))
            state["exp_avg"].copy_(tensors["exp_avg"][piece])
            state["exp_avg_sq"].copy_(tensors["exp_avg_sq"][piece])

    def follow(self, team: Team) -> None:
        """Take the state of the team's first worker, the one that read the checkpoint."""
        if team.size == 1:
            return
        tensors, progress = self.state()
        kept = team.all(progress)[0]
        device = self.vector.device
        self.restore({name: team.first(tensor.to(device, copy=True)) for name, tensor in tensors.items()}, kept)

    def _step(self) -> None:
        progress, training = self.progress, self.training
        for part, gradient in zip(self._parts, self._gradients, strict=True):
            part.grad = gradient
        norm = float(torch.nn.utils.clip_grad_norm_(self._parts, training.max_grad_norm or math.inf))
        if not math.isfinite(norm):
            raise DivergedError(f"the gradient's norm is {norm} at optimizer step {progress.optimizer_steps + 1}")
        rate = training.learning_rate * schedule(progress.optimizer_steps, training)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._gradient.zero_()
        progress.optimizer_steps += 1
        every = max(1, training.optimizer_steps // 100)
        if progress.optimizer_steps % every == 0 or progress.optimizer_steps == training.optimizer_steps:
            progress.train_curve.append((progress.optimizer_steps, sum(progress.window) / len(progress.window)))
            progress.window.clear()


def schedule(step: int, training: TrainingConfig) -> float:
    """Factor of the learning rate for the optimizer step `step`, counted from 0: linear warm-up, linear decay."""
    warmup = math.ceil(training.optimizer_steps * training.warmup_ratio)
    if step < warmup:
        return step / warmup
    return max(0.0, (training.optimizer_steps - step) / max(1, training.optimizer_steps - warmup))
