"""How long and how a training goes, as part of a spec."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from jobs.spec.identity import later

BestBy = Literal["loss", "metric"]
SchedulerType = Literal["linear", "cosine", "constant_with_warmup"]
Batching = Literal["by_length", "shuffled"]
Accumulation = Literal["batches", "labels"]


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How one adapter is trained; lengths in optimizer steps and tokenizer tokens.

    Either `optimizer_steps`, or `epochs` with 0 optimizer steps: how many those are follows from the data (`over`).
    Linear warm-up over `warmup_ratio` of the optimizer steps, then `lr_scheduler_type`: decay to zero by a line (as the
    scripts of language arithmetic do) or by half a cosine (AdaMergeX), or none. `evaluate_every` optimizer steps (0:
    every epoch) the held-out loss (or metric) is measured on the first `evaluation_examples` (0: all), and the best
    checkpoint is kept; `patience` evaluations without gain stop the training, 0 never stops it. `best_by`: whether a
    prompted task is measured by the loss of its answers, one pass, or by its metric; all others have one measure.
    `backbone_dropout`: rate of the frozen backbone's dropout, and of the head's, under bottleneck adapters (the
    published script leaves XLM-R's 0.1 on); 0 leaves it off. `batching`: rows of like length share a batch, or whatever
    rows the shuffle brings together, as in the published scripts. `accumulation`: the loss of a step of several batches
    is the mean over all their labels, as that of one large batch is, or of the batches' means (as versions before had
    it).
    """

    optimizer_steps: int
    batch_size: int
    learning_rate: float = 1e-4
    gradient_accumulation: int = 1
    max_length: int = 128
    warmup_ratio: float = 0.0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    mask_probability: float = 0.15
    evaluate_every: int = 100
    evaluation_examples: int = 1000
    patience: int = 0
    max_tokens: int = 0
    best_by: BestBy = "loss"
    backbone_dropout: float = 0.0
    lr_scheduler_type: SchedulerType = "linear"
    epochs: int = later(0)
    batching: Batching = later("by_length")  # noqa: RUF009 - a field
    accumulation: Accumulation = later("batches")  # noqa: RUF009 - a field

    def weight_of(self, labels: int) -> float:
        """What a batch with so many labels weighs in its optimizer step."""
        return float(labels) if self.accumulation == "labels" else 1.0

    def over(self, rows: int) -> TrainingConfig:
        """The same over `rows` rows, with all lengths in optimizer steps.

        An epoch is ceil(rows / (batch size x accumulation)) optimizer steps, as transformers' Trainer counts.
        """
        epoch = max(1, math.ceil(rows / (self.batch_size * self.gradient_accumulation)))
        steps = self.optimizer_steps or self.epochs * epoch
        return replace(self, optimizer_steps=steps, evaluate_every=self.evaluate_every or epoch)

    def length_over(self, rows: int) -> dict[str, Any]:
        """What a record says of the length: the rows, the optimizer steps asked for, how often they see each row."""
        steps = self.over(rows).optimizer_steps
        passes = steps * self.batch_size * self.gradient_accumulation / max(1, rows)
        return {"train_rows": rows, "optimizer_steps_asked": steps, "passes": round(passes, 3)}

    @property
    def length(self) -> str:
        """`3 epochs`, or `2,000 optimizer steps`."""
        count, unit = (self.epochs, "epoch") if self.epochs else (self.optimizer_steps, "optimizer step")
        return f"{count:,} {unit}{'' if count == 1 else 's'}"
