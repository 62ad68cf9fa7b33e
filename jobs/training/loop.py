"""The loop of one learner: batches, evaluations when they are due, checkpoints now and then and when stopped."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

from jobs.spec import JobCall, Progress, Spec
from jobs.training import checkpoint
from jobs.training.learner import Learner

PROGRESS_SECONDS = 1.0


class Training(Protocol):
    """What is trained: how a batch is learned, and what the current weights are worth on held-out data."""

    learner: Learner

    def learn_batch(self, number: int) -> None:
        """Hand the batch `number`, counted from 0, to the learner. What it is depends on nothing but its number."""

    def held_out_value(self) -> float:
        """The current weights on held-out data, in the sense of `learner.better`."""


@dataclass(frozen=True, slots=True)
class Loop:
    """Where a training's checkpoints lie. `identity` names what is trained: those of another one are passed over."""

    call: JobCall[Spec]
    identity: str

    def resume(self, learner: Learner) -> dict[str, Any]:
        """Go on from the newest readable checkpoint; returns what belongs into the record's details."""
        return checkpoint.resume(learner, self.call.checkpoint, None, self.identity)

    def run(self, training: Training, progress: Progress) -> None:
        """Train to the end. A resumed training ends with the same weights, bit for bit, as one that was not stopped."""
        learner = training.learner
        cadence, last_report = checkpoint.Cadence(), time.monotonic()
        try:
            while True:
                started = time.monotonic()
                # Due after the last batch, or after the one before a checkpoint.
                if learner.evaluation_due:
                    learner.record_evaluation(training.held_out_value())
                if learner.done:
                    break
                training.learn_batch(learner.progress.batches)
                now = time.monotonic()
                learner.progress.took(now - started)
                if cadence.due():
                    self._save(learner)
                    cadence.written(now)
                if now - last_report >= PROGRESS_SECONDS:
                    last_report = now
                    progress(self.call.name, learner.live())
        except (KeyboardInterrupt, SystemExit):
            self._save(learner)
            raise
        self._save(learner)

    def _save(self, learner: Learner) -> None:
        directory, now = self.call.checkpoint, learner.progress.batches
        there, state = checkpoint.place(directory, now, learner.done), checkpoint.State(*learner.state())
        checkpoint.write_checkpoint(directory, there, state, self.identity)
        checkpoint.remove_older(directory, now)
