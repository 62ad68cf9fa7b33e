"""Search steps as one Ray Tune run: thin trials that ask warm workers for scores. No barrier between candidates."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.tune import CheckpointConfig, FailureConfig, RunConfig, TuneConfig
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from jobs.spec import JobCall, SearchSpec
from orchestrator.clusters.ray.private import keep_an_actor
from orchestrator.search.session import Session
from search_spaces.strategies.strategy import Trial

# Told after each trial, and once more, with True, when a search is over.
OnTrial = Callable[[Session, bool], None]
# A trial only waits for a warm worker. It must not ask for any CPU: the workers may hold them all.
TRIAL_MEMORY = 2**20
FINISHED: str = Searcher.FINISHED


class CandidateTrial(tune.Trainable):
    """One candidate: its mixture goes to a warm worker, validation scores per seed come back."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Next to nothing, and for each worker another amount: Tune hands actors on among equal requests alone."""
        return tune.PlacementGroupFactory([{"memory": TRIAL_MEMORY + config["worker"]}])

    def setup(self, config: dict[str, Any], calls: Mapping[str, JobCall[SearchSpec]], workers: Sequence[Any]) -> None:
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
        self, sessions: Sequence[Session], workers: int, on_trial: OnTrial, shutting_down: Callable[[], bool] = _never
    ) -> None:
        """Closes the searches that have nothing left to score. `on_trial` is told in the thread that runs Tune.

        `shutting_down`: whether no more trials may begin; those that live are waited for.
        """
        super().__init__()
        self._on_trial, self._shutting_down = on_trial, shutting_down
        self._open = {session.call.name: session for session in sessions}
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

    def __deepcopy__(self, memo: dict[int, Any]) -> SessionSearcher:
        """The sessions are not to be doubled."""
        return self

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """A trial for a worker that has none; None while scores are waited for; FINISHED when all is done."""
        if self._shutting_down():
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


class ActorReusingScheduler(FIFOScheduler):  # type: ignore[misc]
    """First in, first out; Tune keeps one idle actor for each worker.

    By itself Tune stops the actor of a finished trial unless another trial of equal resources waits at that moment, and
    a free actor takes over a trial whose own actor is just starting, which is then killed. With trials shorter than the
    start of a process that came to 187 processes for 200 trials of two workers.
    """

    def __init__(self) -> None:
        """No worker has had a trial yet."""
        super().__init__()
        self._kept: set[tune.PlacementGroupFactory] = set()

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Keep an actor for the requests of this trial from now on."""
        super().on_trial_add(tune_controller, trial)
        request = trial.placement_group_factory
        if request not in self._kept:
            self._kept.add(request)
            keep_an_actor(tune_controller, request)

    def choose_trial_to_run(self, tune_controller: Any) -> TuneTrial | None:
        """No preference: Tune starts what is pending in its order, and need not look through all trials each time."""
        return None


def _directory(trial: Any) -> str:
    """Tune would write the whole mixture into the name."""
    return str(trial.trial_id)


def run_searches(sessions: Sequence[Session], workers: Sequence[Any], on_trial: OnTrial, tuning: Tuning) -> int:
    """Bring all searches to their end; blocks. See `OnTrial`. Returns in how many processes trials waited.

    These are as many as workers that had trials, unless some died. Raises RuntimeError when a trial failed more often
    than `tuning.attempts`.
    """
    asker = SessionSearcher(sessions, len(workers), on_trial, tuning.shutting_down)
    if asker.over:
        return 0
    calls = {session.call.name: session.call for session in sessions}
    # There are no files of trials to analyse at the end: the trial logs are what is kept.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    tuner = tune.Tuner(
        tune.with_parameters(CandidateTrial, calls=calls, workers=list(workers)),
        tune_config=TuneConfig(
            search_alg=asker,
            scheduler=ActorReusingScheduler(),
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
    results = list(tuner.fit())
    failed = [result.error for result in results if result.error is not None]
    if failed:
        raise RuntimeError(f"{len(failed)} trials failed; the first: {failed[0]}")
    return len({(result.metrics.get("hostname"), result.metrics.get("pid")) for result in results if result.metrics})
