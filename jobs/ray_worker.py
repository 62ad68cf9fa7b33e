"""Warm workers: Ray actors that keep backbone, adapters and evaluation sets between calls."""

from __future__ import annotations

import time

from jobs.job import JobCall, JobResult
from jobs.ray_mailbox import Sender
from jobs.spec import Mixture


class WarmWorker:
    """The actor: runs any call that does not train, and scores candidates of searches."""

    def __init__(self, mailbox: str) -> None:
        """Imports the model libraries once; the backbone is loaded with the first call that needs it."""
        from jobs.worker import Worker

        self._worker = Worker()
        self._sender = Sender(mailbox)

    def run(self, call: JobCall) -> None:
        """Run one call; its outcome goes to the mailbox. A call that was committed already is left alone."""
        if not call.output.is_dir():
            return
        started = time.time()
        outcome: JobResult | Exception
        try:
            outcome = self._worker.run(call, self._sender)
        except Exception as error:  # noqa: BLE001 - the step's failure is its outcome
            outcome = error
        self._sender.finish(call.name, outcome, started)

    def score(self, call: JobCall, mixture: Mixture) -> dict[int, float]:
        """Validation score per seed of one candidate of the search `call`."""
        return self._worker.score(call, mixture)
