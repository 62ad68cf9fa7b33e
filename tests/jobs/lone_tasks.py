"""One task adapter with a head in training, alone: to look into it, and to its end."""

from __future__ import annotations

from jobs.banks.task_bank import TaskPasses, train_tasks
from jobs.spec import JobResult, no_progress
from jobs.training.task_adapter import TaskTrainer


def trainer_of(call) -> TaskTrainer:
    """As a bank starts it: from its checkpoint, if there is one."""
    trainer = TaskPasses(call.spec.backbone, call.spec.adapter).start(call)
    trainer.resume(None)
    return trainer


def loss_and_gradient(call, trainer):
    """Of the next batch."""
    passes = TaskPasses(call.spec.backbone, call.spec.adapter)
    (loss,), (gradient,) = passes.losses([trainer], [trainer.next_batch()])
    return loss.item(), gradient


def train_task(call, progress=no_progress) -> JobResult:
    """To its end; raises what became of it otherwise."""
    ((_, outcome),) = train_tasks([call], progress)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
