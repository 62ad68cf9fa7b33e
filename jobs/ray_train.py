"""A bank as a Ray Train job: one frozen backbone in memory, many adapters trained on it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ray.train
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from jobs.job import JobCall, JobResult, Progress
from jobs.ray_mailbox import Sender
from jobs.spec import LanguageAdapterSpec
from jobs.workplace import Workplace


@dataclass(frozen=True, slots=True)
class BankResources:
    """What one bank's worker may use. Never part of a spec.

    `bank_size`: languages that share a batch; 0: as many as memory and a short trial say (`jobs.bank_size`).
    """

    cpus: float
    gpus: float
    attempts: int
    bank_size: int = 0


def train_bank(name: str, calls: Sequence[JobCall], mailbox: str, resources: BankResources, storage: str) -> None:
    """Train all `calls` in one Ray Train job; blocks. Outcomes go to the mailbox one by one.

    A killed worker is started again up to `attempts` times in all and goes on from the calls' checkpoints.
    Raises ray.train.TrainingFailedError when the attempts are used up.
    """
    trainer = TorchTrainer(
        _train_loop,
        train_loop_config={"calls": list(calls), "mailbox": mailbox, "bank_size": resources.bank_size},
        scaling_config=ScalingConfig(
            num_workers=1,
            use_gpu=resources.gpus > 0,
            resources_per_worker={"CPU": resources.cpus, **({"GPU": resources.gpus} if resources.gpus else {})},
        ),
        run_config=RunConfig(
            name=name,
            storage_path=storage,
            failure_config=FailureConfig(max_failures=resources.attempts - 1),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )
    trainer.fit()


def _train_loop(config: dict[str, Any]) -> None:
    sender = Sender(config["mailbox"])
    workplace = Workplace()
    calls = {call.name: workplace.open(call) for call in config["calls"] if not workplace.is_done(call)}
    started, trained = time.time(), 0
    for name, outcome in _outcomes(list(calls.values()), sender, config["bank_size"]):
        sender.finish(name, workplace.deliver(calls[name], outcome), started)
        trained += isinstance(outcome, JobResult)
    ray.train.report({"trained": trained, "of": len(calls), "seconds": time.time() - started})


def _outcomes(
    calls: Sequence[JobCall], progress: Progress, bank_size: int
) -> Iterator[tuple[str, JobResult | Exception]]:
    from jobs.bank_size import CHOSEN
    from jobs.train_languages import train_languages
    from jobs.train_task import train_task

    if calls and isinstance(calls[0].spec, LanguageAdapterSpec):
        yield from train_languages(calls, progress, bank_size or CHOSEN)
        return
    for call in calls:
        try:
            yield call.name, train_task(call, progress)
        except Exception as error:  # noqa: BLE001 - one adapter's failure is its outcome, the bank goes on
            yield call.name, error
