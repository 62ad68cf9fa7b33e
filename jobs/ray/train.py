"""A bank as a Ray Train job: one frozen backbone in memory, many adapters trained on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray.train
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device

from jobs.banks.sharded.memory_model import Parallelism
from jobs.files.call_directories import CallDirectories
from jobs.ray.mailbox import Sender
from jobs.ray.tokenize import prepare_corpora
from jobs.runtime.phases import Stopwatch, phase
from jobs.runtime.shutdown import ShutdownRequested, StopsOnSignal
from jobs.runtime.step_log import logged
from jobs.spec import JobCall, JobResult, LanguageAdapterSpec, LoraConfig, Progress, Spec, TaskAdapterSpec

if TYPE_CHECKING:
    from jobs.training.data_parallel import DataParallel


@dataclass(frozen=True, slots=True)
class BankResources:
    """What one bank's workers may use; `cpus` and `gpus` are of each worker. Never part of a spec."""

    cpus: float
    gpus: float
    attempts: int
    workers: int = 1
    scale: Parallelism = field(default_factory=Parallelism)


def train_bank(name: str, calls: Sequence[JobCall[Any]], mailbox: str, resources: BankResources, storage: str) -> None:
    """Train all `calls` in one Ray Train job; blocks. Outcomes go to the mailbox one by one.

    The workers train every language together; when one is killed, or its node, all are started again, as many as
    there is room for, up to `attempts` times in all, and go on from the calls' checkpoints.
    Raises ray.train.TrainingFailedError when the attempts are used up.
    """
    prepare_corpora(calls, Sender(mailbox), resources.cpus)
    settings = {"calls": list(calls), "mailbox": mailbox, "scale": resources.scale, "asked": time.time()}
    trainer = TorchTrainer(
        _train_loop,
        train_loop_config=settings,
        scaling_config=scaling(calls[0].spec, resources),
        run_config=RunConfig(
            name=name,
            storage_path=storage,
            failure_config=FailureConfig(max_failures=resources.attempts - 1),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )
    trainer.fit()


def scaling(spec: Spec, resources: BankResources) -> ScalingConfig:
    """Workers of a bank: one, or any number up to `workers`; all of them where they may have to share a backbone."""
    adapter = spec.adapter if isinstance(spec, LanguageAdapterSpec) else None
    may_shard = isinstance(adapter, LoraConfig) and resources.scale.sharding != "ddp"
    elastic = resources.workers > 1 and not may_shard
    return ScalingConfig(
        num_workers=(1, resources.workers) if elastic else resources.workers,
        use_gpu=resources.gpus > 0,
        resources_per_worker={"CPU": resources.cpus, **({"GPU": resources.gpus} if resources.gpus else {})},
    )


def _train_loop(config: dict[str, Any]) -> None:
    from jobs.training.data_parallel import joined_data_parallel, use_own_device

    use_own_device(get_device())
    team, sender, directories = joined_data_parallel(), Sender(config["mailbox"]), CallDirectories()
    if any(team.all_gather(sender.asks_for_shutdown())):
        return
    # The first worker says what is left to do, as a call may be committed while the others look.
    left = team.all_gather([call.name for call in config["calls"] if not directories.is_done(call)])[0]
    # Languages belong to all workers, and the first one answers for them; a task adapter belongs to one of them.
    answers = team.is_main or isinstance(config["calls"][0].spec, TaskAdapterSpec)
    processes = 1 if isinstance(config["calls"][0].spec, TaskAdapterSpec) else team.size
    opened = directories.create if answers else directories.stage_in
    calls = {call.name: opened(call) for call in config["calls"] if call.name in left}
    started, trained = time.time(), 0
    # From the driver's clock; a bank that had to begin again counts its earlier tries as its start.
    watch = Stopwatch(max(0.0, started - config["asked"]))
    with logged(list(calls), sender.note), StopsOnSignal() as stopped:
        try:
            for name, outcome in _outcomes(
                list(calls.values()), Reports(sender, stopped, answers), team, config["scale"]
            ):
                if answers:
                    with phase("writing"):
                        delivered = directories.stage_out(calls[name], outcome)
                        sender.finish(name, watch.on(delivered, processes), started)
                trained += isinstance(outcome, JobResult)
        except BaseException as end:
            directories.sync()
            # Of several, the others wait for this one: its failure lets them go, and started again they leave at once.
            if not isinstance(end, ShutdownRequested) or team.size > 1:
                raise
            return
    ray.train.report({"trained": trained, "of": len(calls), "seconds": time.time() - started})


@dataclass(frozen=True, slots=True)
class Reports:
    """Progress of one worker: sent by the one that `answers`, and stopped between batches when it has to leave."""

    sender: Sender
    stopped: threading.Event
    answers: bool

    def __call__(self, name: str, values: Mapping[str, float]) -> None:
        """Send. Saving the training is asked for by raising: this process or the driver ends (ShutdownRequested)."""
        if self.stopped.is_set():
            raise SystemExit("told to end")
        if self.answers:
            self.sender(name, values)
            if self.sender.was_told_to_shut_down():
                raise ShutdownRequested


def _outcomes(
    calls: Sequence[JobCall[Any]], progress: Progress, team: DataParallel, scale: Parallelism
) -> Iterator[tuple[str, JobResult | Exception]]:
    """Languages are trained by all workers together; task adapters are dealt out, and each worker has its own bank."""
    from jobs.banks.parallelism import train_in_parallel
    from jobs.banks.task_bank import train_tasks

    if calls and isinstance(calls[0].spec, LanguageAdapterSpec):
        yield from train_in_parallel(calls, progress, team, scale)
    else:
        yield from train_tasks(team.shard(calls), progress, scale.bank_size or None)
