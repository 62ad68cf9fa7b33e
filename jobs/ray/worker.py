"""Warm workers: Ray actors that keep backbone, adapters and evaluation sets between calls."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import ray

from jobs.files.call_directories import CallDirectories
from jobs.ray.mailbox import Sender
from jobs.runtime.phases import Stopwatch, phase
from jobs.runtime.step_log import logged
from jobs.spec import JobCall, JobResult, Mixture, SearchSpec, TrialScores


class WarmWorker:
    """The actor: runs any call that does not train, and scores candidates of searches."""

    def __init__(self, mailbox: str) -> None:
        """Imports the model libraries once; the backbone is loaded with the first call that needs it."""
        begun = time.time()
        import torch

        from jobs.worker import Worker

        # The cores that this actor asked for, whatever the node's environment says: evaluators beside each other
        # would otherwise take each other's, and spinning threads cost more than they do.
        torch.set_num_threads(max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1))))
        self._worker = Worker()
        self._sender = Sender(mailbox)
        self._directories = CallDirectories()
        self._searches: dict[str, JobCall[SearchSpec]] = {}
        self._starting = time.time() - begun  # seconds, until the first call has told them

    def ready(self) -> None:
        """Answers as soon as this process has come up."""

    def run(self, call: JobCall[Any]) -> None:
        """Run one call; its outcome goes to the mailbox. A call that was committed already is left alone.

        So is every call that has not begun when the driver is told to end.
        """
        if self._sender.asks_for_shutdown() or (call.bucket is None and self._directories.is_done(call)):
            return
        started, watch = time.time(), self._stopwatch()
        outcome: JobResult | Exception
        try:
            with logged([call.name], self._sender.note):
                here = self._directories.create(call)
                result = self._worker.run(here, self._sender)
                with phase("writing"):
                    outcome = self._directories.stage_out(here, result)
                outcome = watch.on(outcome)
        except Exception as error:  # noqa: BLE001 - the step's failure is its outcome
            outcome = error
        self._sender.finish(call.name, outcome, started)

    def score(self, call: JobCall[SearchSpec], mixture: Mixture, share: float, objective: str = "") -> TrialScores:
        """Scores of one candidate of the search `call` on the first `share` of an objective's validation set."""
        watch = self._stopwatch()
        with logged([call.name], self._sender.note):
            if call.name not in self._searches:
                self._searches[call.name] = self._directories.create(call)
            scores = self._worker.score(self._searches[call.name], mixture, share, objective)
        return replace(scores, work=watch.stretch())

    def trial(self, call: JobCall[SearchSpec], mixture: Mixture, share: float, objective: str = "") -> dict[str, Any]:
        """`score` as the result of a Tune trial, its first and last."""
        return {"scores": self.score(call, mixture, share, objective), "done": True}

    def _stopwatch(self) -> Stopwatch:
        starting, self._starting = self._starting, 0.0
        return Stopwatch(starting)
