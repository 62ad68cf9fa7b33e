"""LocalExecutor: the same results without Ray, one step after another in this process."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jobs.files.call_directories import CallDirectories
from jobs.runtime.machine import device_type
from jobs.runtime.phases import Stopwatch, phase
from jobs.runtime.shutdown import ShutdownRequested
from jobs.runtime.step_log import Send, failure, logged, no_log
from jobs.spec import JobCall, JobResult, LanguageAdapterSpec, SearchSpec, TrainingSpec, TrialScores
from orchestrator.execution.executor import StepFinished, StepProgress, Work
from orchestrator.execution.shutdown import ShutdownRequest
from orchestrator.scheduling.capacity import LARGEST_BANK, bank_key
from orchestrator.search.conclude import run_search
from orchestrator.search.score_cache import SCORES, ScoreCache
from search_spaces.strategies.strategy import Trial

if TYPE_CHECKING:
    from jobs.worker import Worker


class LocalExecutor:
    """Runs in the driver: for tests, debugging, and machines where Ray cannot run."""

    name = "local"

    def __init__(self, bank_size: int = 8, notes: Send = no_log, shutdown: ShutdownRequest | None = None) -> None:
        """`bank_size`: languages or tasks that share a batch; 0: `jobs.banks` chooses. `notes`: who keeps them."""
        self._notes, self._shutdown = notes, shutdown or ShutdownRequest()
        self._bank_size = bank_size
        self._queue: list[tuple[int, str, Work]] = []  # a heap: the most urgent first
        self._moved: list[StepProgress] = []
        self._running: Iterator[StepFinished] = iter(())
        self._worker: Worker | None = None
        self._directories = CallDirectories()

    def submit(self, works: Sequence[Work]) -> None:
        """Queue the steps by rank."""
        for work in works:
            heapq.heappush(self._queue, (work.rank, work.step.key, work))

    def poll(self, timeout: float) -> Sequence[StepFinished | StepProgress]:
        """Run until the next step is finished, or, told to end, until a training or a search has saved its state."""
        try:
            finished = next(self._running, None)
            if finished is None and self._queue:
                self._leave_in_time()
                self._running = self._start()
                finished = next(self._running, None)
        except ShutdownRequested:
            self._directories.sync()
            raise
        if finished is not None and isinstance(finished.outcome, Exception):
            self._notes(failure(finished.key, finished.outcome))
        moved, self._moved = self._moved, []
        return [*moved, finished] if finished else moved

    def close(self) -> None:
        """Drop what is queued."""
        self._queue.clear()
        self._running = iter(())

    def _start(self) -> Iterator[StepFinished]:
        first = heapq.heappop(self._queue)[-1]
        if isinstance(first.step.spec, TrainingSpec):
            return self._train([first, *self._take_alike(first)])
        return self._run(first)

    def _take_alike(self, first: Work) -> list[Work]:
        alike = [item for item in sorted(self._queue) if bank_key(item[-1].step.spec) == bank_key(first.step.spec)]
        taken = alike[: (self._bank_size or LARGEST_BANK) - 1]
        self._queue = [item for item in self._queue if item not in taken]
        heapq.heapify(self._queue)
        return [work for _, _, work in taken]

    def _train(self, works: list[Work]) -> Iterator[StepFinished]:
        begun = time.time()
        from jobs.banks.bank import train_languages
        from jobs.banks.task_bank import train_tasks

        started = time.time()
        watch = Stopwatch(started - begun)
        left = {work.step.key for work in works}
        try:
            calls = {work.step.key: self._directories.create(work.call) for work in works}
            made: list[JobCall[Any]] = list(calls.values())
            if isinstance(works[0].step.spec, LanguageAdapterSpec):
                outcomes = train_languages(made, self._progress, self._bank_size)
            else:
                outcomes = train_tasks(made, self._progress, self._bank_size or None)
            with logged(list(calls), self._notes):
                for key, outcome in outcomes:
                    left.discard(key)
                    with phase("writing"):
                        delivered = self._directories.stage_out(calls[key], outcome)
                    left_at = time.perf_counter()
                    yield StepFinished(key, watch.on(delivered), time.time() - started, started)
                    watch.away(left_at)
        except Exception as error:  # noqa: BLE001 - what stops a bank is the failure of all that were in it
            for key in sorted(left):
                yield StepFinished(key, error, time.time() - started, started)

    def _run(self, work: Work) -> Iterator[StepFinished]:
        begun = time.time()
        from jobs.worker import Worker

        started = time.time()
        watch = Stopwatch(started - begun)
        self._worker = self._worker or Worker()
        outcome: JobResult | Exception
        try:
            with logged([work.step.key], self._notes):
                outcome = watch.on(self._carry_out(self._worker, work))
        except Exception as error:  # noqa: BLE001 - the step's failure is its outcome
            outcome = error
        yield StepFinished(work.step.key, outcome, time.time() - started, started)

    def _carry_out(self, worker: Worker, work: Work) -> JobResult:
        call = self._directories.create(work.call)
        if isinstance(work.step.spec, SearchSpec):

            def score(trial: Trial) -> TrialScores:
                return worker.score(call, trial.candidate.mixture, trial.share, trial.objective)

            result = run_search(call, score, self._progress, ScoreCache(call.cache / SCORES), device_type())
        else:
            result = worker.run(call, self._progress)
        with phase("writing"):
            return self._directories.stage_out(call, result)

    def _leave_in_time(self) -> None:
        if self._shutdown.is_requested:
            raise ShutdownRequested

    def _progress(self, name: str, values: Mapping[str, float]) -> None:
        self._leave_in_time()
        self._moved.append(StepProgress(name, dict(values)))
