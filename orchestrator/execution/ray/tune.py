"""Search steps as one Ray Tune run, whose trials run on warm workers. No barrier between candidates."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.tune import CheckpointConfig, FailureConfig, RunConfig, TuneConfig
from ray.tune.search import Searcher

from orchestrator.execution.ray.lent_workers import LendingScheduler, LentWorkers
from orchestrator.search.session import Session
from search_spaces.strategies.strategy import Trial

# Told after each trial, and once more, with True, when a search is over.
OnTrial = Callable[[Session, bool], None]
FINISHED: str = Searcher.FINISHED


class CandidateTrial(tune.Trainable):
    """One candidate, as Tune knows a trial: its mixture goes to a warm worker, validation scores per seed come back."""


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Tuning:
    """A Tune run: its name, where Ray keeps its own results, tries of a trial, and whether no more may begin."""

    name: str
    storage: str
    attempts: int
    shutting_down: Callable[[], bool] = _never


@dataclass(frozen=True, slots=True)
class _Live:
    session: Session
    trial: Trial
    worker: int


class SessionSearcher(Searcher):
    """Tune's searcher over the sessions of several searches; its state is their trial logs.

    A search stays on one worker where it can, which then holds its data; a worker without work of its own takes
    trials of the others.
    """

    def __init__(
        self,
        sessions: Sequence[Session],
        workers: Sequence[Any],
        on_trial: OnTrial,
        shutting_down: Callable[[], bool] = _never,
    ) -> None:
        """Closes the searches that have nothing left to score. `on_trial` is told in the thread that runs Tune.

        `workers`: there may be more of them later. `shutting_down`: whether no more trials may begin; those that live
        are waited for.
        """
        super().__init__()
        self._on_trial, self._shutting_down = on_trial, shutting_down
        self._open = {session.call.name: session for session in sessions}
        self._first = {session.call.name: session.ask() for session in sessions}
        self._workers, first = workers, len(workers)
        self._own = [deque(s for n, s in enumerate(sessions) if n % first == w) for w in range(first)]
        self._live: dict[str, _Live] = {}
        for session in sessions:
            if self._first[session.call.name] is None:
                self._close(session)

    @property
    def over(self) -> bool:
        """Whether no search has anything left to score."""
        return not self._open

    def __reduce__(self) -> tuple[type[Searcher], tuple[()]]:
        """Tune pickles its settings to restore a run from; resuming goes by the trial logs instead."""
        return Searcher, ()

    def __deepcopy__(self, memo: dict[int, Any]) -> SessionSearcher:
        """The sessions are not to be doubled."""
        return self

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """A trial for a worker that has none; None while scores are waited for; FINISHED when all is done."""
        if self._shutting_down():
            return FINISHED
        busy = {live.worker for live in self._live.values()}
        self._own += [deque[Session]() for _ in range(len(self._workers) - len(self._own))]
        for worker in (number for number in range(len(self._own)) if number not in busy):
            for session in self._in_turn(worker):
                trial = self._first.pop(session.call.name, None) or session.ask()
                if trial is not None:
                    self._live[trial_id] = _Live(session, trial, worker)
                    return {"search": session.call.name, "worker": worker, "trial": trial}
                self._close(session)
        return None if self._open else FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Keep the scores; a trial that failed for good ends its search."""
        live = self._live.pop(trial_id)
        if error or result is None:
            self._open.pop(live.session.call.name, None)
            return
        live.session.tell(live.trial, result["scores"])
        if live.session.call.name in self._open:
            self._on_trial(live.session, False)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A trial reports once, when it is complete."""

    def save(self, checkpoint_path: str) -> None:
        """The trial logs are the state."""

    def restore(self, checkpoint_path: str) -> None:
        """The trial logs are the state."""

    def _in_turn(self, worker: int) -> Iterator[Session]:
        """The worker's own searches first, the one that it served last at the front; then those of others."""
        own = self._own[worker]
        while own and own[0].call.name not in self._open:
            own.popleft()
        yield from (session for session in own if session.call.name in self._open)
        names = {session.call.name for session in own}
        yield from [session for name, session in self._open.items() if name not in names]

    def _close(self, session: Session) -> None:
        """A search that has nothing more to ask, and no trial on its way, is over."""
        if session.done and session.call.name in self._open:
            del self._open[session.call.name]
            self._on_trial(session, True)


def _directory(trial: Any) -> str:
    """Tune would write the whole mixture into the name."""
    return str(trial.trial_id)


def run_searches(sessions: Sequence[Session], workers: Sequence[Any], on_trial: OnTrial, tuning: Tuning) -> int:
    """Bring all searches to their end; blocks. See `OnTrial`. Returns how many trials there were.

    `workers`: one at least; what is added to them while this goes on takes trials too.

    Raises RuntimeError when one failed more often than `tuning.attempts`.
    """
    asker = SessionSearcher(sessions, workers, on_trial, tuning.shutting_down)
    if asker.over:
        return 0
    calls = {session.call.name: session.call for session in sessions}
    # There are no files of trials to analyse at the end: the trial logs are what is kept.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    tuner = tune.Tuner(
        CandidateTrial,
        tune_config=TuneConfig(
            search_alg=asker,
            scheduler=LendingScheduler(LentWorkers(calls, workers)),
            num_samples=-1,
            trial_dirname_creator=_directory,
        ),
        run_config=RunConfig(
            name=tuning.name,
            storage_path=tuning.storage,
            verbose=0,
            failure_config=FailureConfig(max_failures=tuning.attempts - 1),
            checkpoint_config=CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    )
    results = list(tuner.fit())
    failed = [result.error for result in results if result.error is not None]
    if failed:
        raise RuntimeError(f"{len(failed)} trials failed; the first: {failed[0]}")
    return len(results)
