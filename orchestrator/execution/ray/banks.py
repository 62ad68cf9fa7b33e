"""Trainings as banks, each one Ray Train job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jobs.banks.sharded.memory_model import Parallelism
from jobs.ray.train import BankResources, train_bank
from jobs.spec import JobResult
from orchestrator.campaign.resources import ResourcesSection
from orchestrator.execution.executor import StepFinished, StepProgress, Work
from orchestrator.execution.ray.metrics import CampaignMetrics
from orchestrator.execution.ray.runner import BlockingRun, Runner
from orchestrator.scheduling.bank_packing import bank_key, split_banks
from orchestrator.scheduling.startup_times import BankClock, StartupLog


class BankRunner(Runner):
    """Trainings that may share a job go together; their outcomes come through the mailbox."""

    def __init__(
        self, asked: ResourcesSection, storage: Path, mailbox: str, metrics: CampaignMetrics, start_ups: StartupLog
    ) -> None:
        """`storage`: where Ray keeps what it writes itself."""
        super().__init__("bank")
        self._storage, self._mailbox, self._metrics, self._start_ups = str(storage), mailbox, metrics, start_ups
        self._bank_size = asked.bank_size
        scale = Parallelism(asked.sharding, asked.deepspeed, asked.bank_size)
        self._resources = BankResources(
            asked.cpus_per_bank, asked.gpus_per_bank, asked.attempts, asked.workers_per_bank, scale
        )
        self._clocks: dict[str, BankClock] = {}

    def start(self, room: int) -> None:
        """Those alike the most urgent one, in as many banks as there is `room` for beside those that run."""
        free = room - self.active
        if not self.waiting or free <= 0:
            return
        first = bank_key(self.waiting[0].step.spec)
        alike = [work for work in self.waiting if bank_key(work.step.spec) == first]
        for bank in list(split_banks(alike, free, self._bank_size))[:free]:
            self._clocks |= dict.fromkeys((work.step.key for work in bank), BankClock())
            run = self.begin(bank, self._train)
            self._metrics.bank(run.name, run.keys)

    def take(self, events: Sequence[StepFinished | StepProgress], over: Sequence[BlockingRun]) -> None:
        """What came through the mailbox, and banks that are over: keeps what their jobs took beside training."""
        for event in events:
            clock = self._clocks.get(event.key)
            if clock and isinstance(event, StepProgress):
                clock.trains()
            elif clock and isinstance(event, StepFinished) and isinstance(event.outcome, JobResult):
                clock.finished()
        for run in over:
            clock, *_ = [self._clocks.pop(key) for key in run.keys]
            seconds = clock.beside()
            if seconds is not None:
                self._start_ups.note("bank", seconds)

    def _train(self, name: str, works: Sequence[Work]) -> None:
        train_bank(name, [work.call for work in works], self._mailbox, self._resources, self._storage)
