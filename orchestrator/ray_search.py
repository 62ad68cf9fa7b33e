"""Search steps as one Ray Tune run: thin trials that ask warm workers for scores. No barrier between candidates."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.tune import CheckpointConfig, FailureConfig, RunConfig, TuneConfig
from ray.tune.search import Searcher

from jobs.job import JobCall
from orchestrator.search_session import Session
from search_spaces.strategies.strategy import Trial

# Told after each trial, and once more, with True, when a search is over.
OnTrial = Callable[[Session, bool], None]
# A trial only waits for a warm worker. It must not ask for any CPU: the workers may hold them all.
FINISHED: str = Searcher.FINISHED
TRIAL_RESOURCES = tune.PlacementGroupFactory([{"memory": 2**20}])


class CandidateTrial(tune.Trainable):
    """One candidate: its mixture goes to a warm worker, validation scores per seed come back."""

    def setup(self, config: dict[str, Any], calls: Mapping[str, JobCall], workers: Sequence[Any]) -> None:
        """`calls`: search key -> call; `workers`: handles of warm workers."""
        self._calls, self._workers = calls, workers

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next candidate without a new process."""
        self.config = new_config
        return True

    def step(self) -> dict[str, Any]:
        """Score the candidate; the trial is done."""
        search, worker, trial = (self.config[name] for name in ("search", "worker", "trial"))
        asked = (self._calls[search], trial.candidate.mixture, trial.share, trial.objective)
        scores = ray.get(self._workers[worker].score.remote(*asked))
        return {"scores": scores, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to keep: the trial log holds the scores."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load."""


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Tuning:
    """A Tune run: its name, where Ray keeps its own results, tries of a trial, and whether no more may begin."""

    name: str
    storage: str
    attempts: int
    leaving: Callable[[], bool] = _never


@dataclass(frozen=True, slots=True)
class _Live:
    session: Session
    trial: Trial
    worker: int


class Asker(Searcher):
    """Tune's searcher over the sessions of several searches; its state is their trial logs.

    A search stays on one worker where it can, which then holds its data; a worker without work of its own takes
    trials of the others.
    """

    def __init__(
        self, sessions: Sequence[Session], workers: int, on_trial: OnTrial, leaving: Callable[[], bool] = _never
    ) -> None:
        """Closes the searches that have nothing left to score. `on_trial` is told in the thread that runs Tune.

        `leaving`: whether no more trials may begin; those that live are waited for.
        """
        super().__init__()
        self._on_trial, self._leaving = on_trial, leaving
        self._open = list(sessions)
        self._first = {session.call.name: session.ask() for session in sessions}
        self._own = [deque(s for n, s in enumerate(sessions) if n % workers == w) for w in range(workers)]
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

    def __deepcopy__(self, memo: dict[int, Any]) -> Asker:
        """The sessions are not to be doubled."""
        return self

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """A trial for a worker that has none; None while scores are waited for; FINISHED when all is done."""
        if self._leaving():
            return FINISHED
        busy = {live.worker for live in self._live.values()}
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
            self._open = [session for session in self._open if session is not live.session]
            return
        live.session.tell(live.trial, result["scores"])
        if live.session in self._open:
            self._on_trial(live.session, False)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A trial reports once, when it is complete."""

    def save(self, checkpoint_path: str) -> None:
        """The trial logs are the state."""

    def restore(self, checkpoint_path: str) -> None:
        """The trial logs are the state."""

    def _in_turn(self, worker: int) -> list[Session]:
        """The worker's own searches first, the one that it served last at the front; then those of others."""
        own = [session for session in self._own[worker] if session in self._open]
        return [*own, *(session for session in self._open if session not in own)]

    def _close(self, session: Session) -> None:
        """A search that has nothing more to ask, and no trial on its way, is over."""
        if session.done and session in self._open:
            self._open = [other for other in self._open if other is not session]
            self._on_trial(session, True)


def _directory(trial: Any) -> str:
    """Tune would write the whole mixture into the name."""
    return str(trial.trial_id)


def run_searches(sessions: Sequence[Session], workers: Sequence[Any], on_trial: OnTrial, tuning: Tuning) -> None:
    """Bring all searches to their end; blocks. See `OnTrial`.

    Raises RuntimeError when a trial failed more often than `tuning.attempts`.
    """
    asker = Asker(sessions, len(workers), on_trial, tuning.leaving)
    if asker.over:
        return
    calls = {session.call.name: session.call for session in sessions}
    trainable = tune.with_parameters(CandidateTrial, calls=calls, workers=list(workers))
    tuner = tune.Tuner(
        tune.with_resources(trainable, TRIAL_RESOURCES),
        # As many trials as workers: with one more, Tune took three times as long to hand its actors on.
        tune_config=TuneConfig(
            search_alg=asker,
            num_samples=-1,
            reuse_actors=True,
            max_concurrent_trials=len(workers),
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
    failed = [result.error for result in tuner.fit() if result.error is not None]
    if failed:
        raise RuntimeError(f"{len(failed)} trials failed; the first: {failed[0]}")
