"""Searches that are ready together as one Ray Tune run over warm workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from jobs.files.call_directories import CallDirectories
from jobs.spec import JobResult
from orchestrator.execution.executor import StepFinished, StepProgress, Work
from orchestrator.execution.ray.runner import Runner
from orchestrator.execution.ray.tune import Tuning, run_searches
from orchestrator.execution.ray.worker_pool import WorkerPool
from orchestrator.scheduling.startup_times import StartupLog
from orchestrator.search.conclude import conclude, search_progress
from orchestrator.search.score_cache import SCORES, ScoreCache
from orchestrator.search.session import Session


class SearchRunner(Runner):
    """One Tune run at a time; the next takes all searches that wait by then."""

    def __init__(self, storage: Path, attempts: int, leaving: Callable[[], bool], start_ups: StartupLog) -> None:
        """`storage`: where Ray keeps its own results; `leaving`: whether no more trials may begin."""
        super().__init__("search")
        self._storage, self._attempts, self._leaving, self._start_ups = str(storage), attempts, leaving, start_ups
        self._directories = CallDirectories()
        self._events: SimpleQueue[StepFinished | StepProgress] = SimpleQueue()
        self._lent = 0

    @property
    def lent(self) -> int:
        """Workers of the pool that the run has."""
        return self._lent if self.active else 0

    def start(self, pool: WorkerPool, room: int) -> None:
        """All that wait, on as many workers as there is `room` for, unless a run goes on."""
        if self.waiting and not self.active:
            self._lent = max(1, room)
            workers = pool.lend(self._lent)
            self.begin(self.waiting, partial(self._search, workers, not pool.is_starting()))

    def events(self) -> list[StepFinished | StepProgress]:
        """What has happened since it was asked last."""
        return [self._events.get() for _ in range(self._events.qsize())]

    def _search(self, workers: Sequence[Any], warm: bool, name: str, works: Sequence[Work]) -> None:
        started = time.time()
        here = [self._directories.create(work.call) for work in works]

        def on_trial(session: Session, over: bool) -> None:
            self._events.put(StepProgress(session.call.name, search_progress(session)))
            if over:
                result = self._directories.stage_out(session.call, _conclusion(session))
                self._events.put(StepFinished(session.call.name, result, time.time() - started, started))

        cache = ScoreCache(here[0].cache / SCORES)
        sessions = [Session(call, cache) for call in here]
        tuning = Tuning(name, self._storage, self._attempts, self._leaving)
        before = sum(session.log.seconds for session in sessions)
        if run_searches(sessions, workers, on_trial, tuning) and warm:
            scored = sum(session.log.seconds for session in sessions) - before
            self._start_ups.note("search", max(0.0, time.time() - started - scored / len(workers)))


def _conclusion(session: Session) -> JobResult | Exception:
    """The search's outcome; a failure must not end the Tune run, in which other searches go on."""
    try:
        return conclude(session)
    except Exception as error:  # noqa: BLE001 - the step's failure is its outcome
        return error
