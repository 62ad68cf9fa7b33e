"""The course of one training: what is counted, when it evaluates, when it ends, its curves and its schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from jobs.runtime.machine import machine_facts
from jobs.runtime.precision import training_precision
from jobs.spec import JobResult, TrainingConfig

Curve = list[tuple[float, float]]


class DivergedError(ArithmeticError):
    """The loss or the gradient of one adapter is no longer a number."""


@dataclass(slots=True)
class Progress:
    """What is counted while training; plain values, so that a checkpoint can hold them.

    `seconds` passed while the adapter was in training; of those that it shared with others of its bank, `share_seconds`
    counts its part alone, so that a bank took the sum of its members'. `parts`: (mean loss, weight) of the batches of
    the optimizer step that is being made; `window`: the losses of steps that are in no curve yet.
    """

    batches: int = 0
    optimizer_steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    share_seconds: float = 0.0
    best_value: float | None = None
    best_step: int = 0
    stale: int = 0
    parts: list[tuple[float, float]] = field(default_factory=list)
    window: list[float] = field(default_factory=list)
    train_curve: Curve = field(default_factory=list)
    validation_curve: Curve = field(default_factory=list)

    @property
    def weight(self) -> float:
        """Of the batches of the optimizer step that is being made, all together."""
        return sum(weight for _, weight in self.parts)

    def took(self, seconds: float, among: int = 1) -> None:
        """Count the time of a batch, or of an evaluation, of so many adapters at once."""
        self.seconds += seconds
        self.share_seconds += seconds / among


class TrainingState:
    """Everything about one adapter's training but its weights and its optimizer."""

    def __init__(self, training: TrainingConfig, better: Literal["min", "max"]) -> None:
        """`better`: whether a lower or a higher evaluation is better."""
        self.training = training
        self.better = better
        self.progress = Progress()

    @property
    def learning_rate(self) -> float:
        """Of the next optimizer step."""
        return self.training.learning_rate * schedule(self.progress.optimizer_steps, self.training)

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
        losses = [*progress.window, *(loss for loss, _ in progress.parts)]
        recent = losses[-20:] or [value for _, value in progress.train_curve[-1:]]
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
            "share_seconds": progress.share_seconds,
            "tokens_per_second": progress.tokens / max(progress.seconds, 1e-9),
        }
        machine = machine_facts()
        # Of the frozen backbone's weights, or under MAD-X adapters of its products; adapters learn in float32.
        details = {**details, "precision": training_precision(machine["device"], False), "machine": machine}
        return JobResult(metrics, {"train_loss": progress.train_curve, value_name: progress.validation_curve}, details)

    def batch_made(self, loss: float, tokens: int, labels: int) -> None:
        """Count one batch, whose mean loss is over `labels` labels. Raises DivergedError when it is not finite."""
        progress = self.progress
        if not labels:
            place = f"optimizer step {progress.optimizer_steps + 1}"
            raise DivergedError(
                f"nothing to learn from in a batch of {place}: the tokenizer knows no piece of its texts"
            )
        if not math.isfinite(loss):
            raise DivergedError(f"the training loss is {loss} at optimizer step {progress.optimizer_steps + 1}")
        progress.batches += 1
        progress.tokens += tokens
        progress.parts.append((loss, self.training.weight_of(labels)))

    def step_made(self, norm: float) -> None:
        """Count one optimizer step. Raises DivergedError when the gradient's `norm` is not finite."""
        progress, training = self.progress, self.training
        if not math.isfinite(norm):
            raise DivergedError(f"the gradient's norm is {norm} at optimizer step {progress.optimizer_steps + 1}")
        progress.optimizer_steps += 1
        progress.window.append(sum(loss * (part / progress.weight) for loss, part in progress.parts))
        progress.parts.clear()
        every = max(1, training.optimizer_steps // 100)
        if progress.optimizer_steps % every == 0 or progress.optimizer_steps == training.optimizer_steps:
            progress.train_curve.append((progress.optimizer_steps, sum(progress.window) / len(progress.window)))
            progress.window.clear()

    def evaluated(self, value: float) -> bool:
        """Note the held-out value of the current weights; whether they are the best so far.

        Raises DivergedError when the value is not finite.
        """
        progress = self.progress
        if not math.isfinite(value):
            raise DivergedError(f"the held-out value is {value} at optimizer step {progress.optimizer_steps}")
        progress.validation_curve.append((progress.optimizer_steps, value))
        sign = 1.0 if self.better == "max" else -1.0
        if progress.best_value is None or sign * value > sign * progress.best_value:
            progress.best_value, progress.best_step, progress.stale = value, progress.optimizer_steps, 0
            return True
        progress.stale += 1
        return False

    def plain(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return asdict(self.progress)

    def go_on(self, progress: Mapping[str, Any]) -> None:
        """Go on from `plain()`. Raises TypeError or ValueError when it is of another shape."""
        restored = Progress(**progress)
        for pairs in ("train_curve", "validation_curve", "parts"):
            setattr(restored, pairs, [(one, other) for one, other in getattr(restored, pairs)])
        if len(restored.parts) != restored.batches % self.training.gradient_accumulation:
            raise ValueError("it does not say what the batches of the step that it stands in weigh")
        self.progress = restored


def schedule(step: int, training: TrainingConfig) -> float:
    """Factor of the learning rate for the optimizer step `step`, counted from 0, as transformers has it."""
    warmup = math.ceil(training.optimizer_steps * training.warmup_ratio)
    if step < warmup:
        return step / warmup
    left = max(0.0, (training.optimizer_steps - step) / max(1, training.optimizer_steps - warmup))
    match training.lr_scheduler_type:
        case "linear":
            return left
        case "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * (1.0 - left)))
        case "constant_with_warmup":
            return 1.0
