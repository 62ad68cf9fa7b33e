"""Search steps as one Ray Tune run: thin trials that ask warm workers for scores. No barrier between candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import ray
from ray import tune
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, TuneConfig
from ray.tune.experiment import Trial

from jobs.job import JobCall
from jobs.spec import SearchSpec
from orchestrator.search import TrialLog

OnTrial = Callable[[JobCall, TrialLog], None]
# A trial only waits for a warm worker. It must not ask for any CPU: the workers may hold them all.
TRIAL_RESOURCES = tune.PlacementGroupFactory([{"memory": 2**20}])


class CandidateTrial(tune.Trainable):
    """One candidate: weights go to a warm worker, validation scores per seed come back."""

    def setup(self, config: dict[str, Any], calls: Mapping[str, JobCall], workers: Sequence[Any]) -> None:
        """`calls`: search key -> call; `workers`: handles of warm workers."""
        self._calls, self._workers = calls, workers

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next candidate without a new process."""
        self.config = new_config
        return True

    def step(self) -> dict[str, Any]:
        """Score the candidate; the trial is done."""
        point = self.config["candidate"]
        worker = self._workers[point["worker"]]
        scores = ray.get(worker.score.remote(self._calls[point["search"]], point["candidate"].mixture))
        return {"scores": {str(seed): value for seed, value in scores.items()}, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to keep: the trial log holds the scores."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load."""


class _OnResult(Callback):
    """Brings each trial's scores to the search's trial log, in the driver."""

    def __init__(self, calls: Mapping[str, JobCall], logs: Mapping[str, TrialLog], on_trial: OnTrial) -> None:
        self._calls, self._logs, self._on_trial = calls, logs, on_trial

    def __reduce__(self) -> tuple[type[Callback], tuple[()]]:
        """Tune pickles its settings to restore a run from; resuming goes by the trial logs instead."""
        return Callback, ()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        point = trial.config["candidate"]
        scores = {int(seed): value for seed, value in result["scores"].items()}
        self._logs[point["search"]].add(point["candidate"], scores)
        self._on_trial(self._calls[point["search"]], self._logs[point["search"]])


def run_searches(
    name: str, calls: Sequence[JobCall], workers: Sequence[Any], on_trial: OnTrial, storage: str, attempts: int
) -> None:
    """Run every missing trial of all `calls`; blocks. `on_trial` is told after each one, in this thread.

    Raises RuntimeError when trials failed more often than `attempts`.
    """
    by_key = {call.name: call for call in calls}
    logs = {call.name: TrialLog(call.checkpoint) for call in calls}
    points = _points(calls, logs, len(workers))
    for call in calls:
        on_trial(call, logs[call.name])  # a search whose trials are all there already
    if not points:
        return
    trainable = tune.with_parameters(CandidateTrial, calls=by_key, workers=list(workers))
    tuner = tune.Tuner(
        tune.with_resources(trainable, TRIAL_RESOURCES),
        param_space={"candidate": tune.grid_search(points)},
        # As many trials as workers: with one more, Tune took three times as long to hand its actors on.
        tune_config=TuneConfig(reuse_actors=True, max_concurrent_trials=len(workers)),
        run_config=RunConfig(
            name=name,
            storage_path=storage,
            verbose=0,
            callbacks=[_OnResult(by_key, logs, on_trial)],
            failure_config=FailureConfig(max_failures=attempts - 1),
            checkpoint_config=CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    )
    failed = [result.error for result in tuner.fit() if result.error is not None]
    if failed:
        raise RuntimeError(f"{len(failed)} trials failed; the first: {failed[0]}")


def _points(calls: Sequence[JobCall], logs: Mapping[str, TrialLog], workers: int) -> list[dict[str, Any]]:
    """Missing candidates, those of different workers alternating; a search stays on one worker where it can."""
    queues: list[list[dict[str, Any]]] = [[] for _ in range(workers)]
    for number, call in enumerate(calls):
        spec = call.spec
        assert isinstance(spec, SearchSpec)
        for place, candidate in enumerate(logs[call.name].missing(spec)):
            worker = (number if len(calls) >= workers else number + place) % workers
            queues[worker].append({"search": call.name, "worker": worker, "candidate": candidate})
    return [point for row in zip_longest(*queues) for point in row if point is not None]
