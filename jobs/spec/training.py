"""How long and how a training goes, as part of a spec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BestBy = Literal["loss", "metric"]
SchedulerType = Literal["linear", "cosine", "constant_with_warmup"]


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How one adapter is trained; lengths in optimizer steps and tokenizer tokens.

    Linear warm-up over `warmup_ratio` of the optimizer steps, then `lr_scheduler_type`: decay to zero by a line (as the
    scripts of language arithmetic do) or by half a cosine (AdaMergeX), or none. `evaluate_every` optimizer steps the
    held-out loss (or metric) is measured, and the best checkpoint is kept; `patience` evaluations without gain stop
    the training, 0 never stops it. `best_by`: whether a prompted task is measured by the loss of its answers, one
    pass, or by its metric; all others have one measure. `backbone_dropout`: rate of the frozen backbone's dropout
    under bottleneck adapters (the published script leaves XLM-R's 0.1 on); 0 leaves it off.
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
