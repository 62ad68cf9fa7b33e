"""Warm workers in the place of Tune's actors: a trial runs on the worker that scores it, and no process is started.

By itself Tune starts a process for each trial that runs at a time. It imports all of Ray Tune, 1.6 s of processor
time on the cores that score, to do nothing but wait for a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import ray
from ray.air.execution.resources import AcquiredResources, ResourceManager, ResourceRequest
from ray.tune.schedulers import FIFOScheduler

from jobs.spec import JobCall, SearchSpec
from orchestrator.clusters.ray.private import manage_resources


class _LentActor:
    """What Tune calls of a trial's actor. All but `train` is answered here: the worker outlives the trial."""

    def __init__(self, train: Callable[[], Any]) -> None:
        """`train`: begins the trial's only iteration and gives the reference of its result."""
        self.train = SimpleNamespace(remote=train)
        nothing_to_do = SimpleNamespace(remote=lambda **_: ray.put({}))
        self.stop = self.get_auto_filled_metrics = self.__ray_ready__ = nothing_to_do


@dataclass
class _LentResources(AcquiredResources):  # type: ignore[misc]
    """What a trial's actor is started on."""

    start: Callable[..., _LentActor]

    def annotate_remote_entities(self, entities: Sequence[Any]) -> list[Any]:
        """In place of Tune's actor class, what lends a worker when it is called like one."""
        return [SimpleNamespace(remote=self.start) for _ in entities]


class LentWorkers(ResourceManager):  # type: ignore[misc]
    """Tune's resources: the worker that a trial's configuration names, at once, for workers queue their calls."""

    def __init__(self, calls: Mapping[str, JobCall[SearchSpec]], workers: Sequence[Any]) -> None:
        """`calls`: search key -> call; `workers`: handles of warm workers."""
        self._calls, self._workers = calls, workers

    def request_resources(self, resource_request: ResourceRequest) -> None:
        """Nothing is reserved."""

    def cancel_resource_request(self, resource_request: ResourceRequest) -> None:
        """Nothing was reserved."""

    def has_resources_ready(self, resource_request: ResourceRequest) -> bool:
        """Always."""
        return True

    def acquire_resources(self, resource_request: ResourceRequest) -> _LentResources:
        """For one trial."""
        return _LentResources(resource_request, self._lend)

    def free_resources(self, acquired_resource: AcquiredResources) -> None:
        """The worker belongs to its pool."""

    def clear(self) -> None:
        """Nothing is kept."""

    def _lend(self, config: Mapping[str, Any], **_: Any) -> _LentActor:
        search, worker, trial = (config[name] for name in ("search", "worker", "trial"))
        asked = (self._calls[search], trial.candidate.mixture, trial.share, trial.objective)
        return _LentActor(lambda: self._workers[worker].trial.remote(*asked))


class LendingScheduler(FIFOScheduler):  # type: ignore[misc]
    """First in, first out, on lent workers."""

    def __init__(self, workers: LentWorkers) -> None:
        """No trial yet."""
        super().__init__()
        self._workers = workers

    def __reduce__(self) -> tuple[type[FIFOScheduler], tuple[()]]:
        """Tune pickles its settings to restore a run from; resuming goes by the trial logs instead."""
        return FIFOScheduler, ()

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Before the first trial asks for resources, say where they come from."""
        super().on_trial_add(tune_controller, trial)
        manage_resources(tune_controller, self._workers)

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """No preference: Tune starts what is pending in its order, and need not look through all trials each time."""
