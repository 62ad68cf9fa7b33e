"""Train many adapters together on one frozen backbone, each as if it were alone.

A batch holds rows of every member of the bank, a language or a task; each has its own loss mean, gradient, optimizer,
schedule, data order, masks (of words and of dropout), best state and end.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic

from jobs.banks.adapter_backends import AdapterBackends
from jobs.banks.batch_capacity import CHOSEN, chosen_size
from jobs.banks.forward_pass import AdapterBackend, BankPass
from jobs.banks.member import M, Passes
from jobs.errors import InputError
from jobs.runtime.library_faults import panics_as_faults
from jobs.runtime.malloc import keep_freed_memory
from jobs.runtime.phases import phase
from jobs.spec import AdapterConfig, JobCall, JobResult, LanguageCall, Progress, no_progress
from jobs.tokens.batches import Example
from jobs.training import checkpoint
from jobs.training.checkpoint import CheckpointWriter
from jobs.training.data_parallel import DataParallel, WorkerLostError
from jobs.training.throughput import Throughput

Outcome = tuple[str, JobResult | Exception]
PROGRESS_SECONDS = 1.0
ALONE = DataParallel()


class CorpusError(RuntimeError):
    """A member's data could not be read in the middle of its training."""


def train_languages(
    calls: Sequence[LanguageCall],
    progress: Progress = no_progress,
    capacity: int | None = None,
    team: DataParallel = ALONE,
) -> Iterator[Outcome]:
    """Train the adapters of `calls`, which share one backbone; yield (call.name, result or exception) as each ends.

    At most `capacity` languages (None: all; CHOSEN: what `jobs.banks.batch_capacity` finds) share a batch and are in
    memory; the others enter as languages leave. Languages of unequal batch size, kind of adapter or theta_pre cannot
    share a batch: their banks run one after another.
    A language whose corpus is broken or whose loss diverges ends with its exception and the others go on. A
    finished adapter is in `call.output`: an AdapterHub directory that is named by the language, or a PEFT directory.
    Training that was killed goes on from `call.checkpoint`. Raises InputError when the backbone itself cannot be used.

    Every worker of `team` calls this with the same calls and gets the same outcomes; all share the rows of every
    batch. Only the first one writes and reports. Raises TeamBrokenError when one of the others is gone.
    """
    if not calls:
        return
    keep_freed_memory()
    groups: dict[tuple[AdapterConfig, int, Path], list[LanguageCall]] = {}
    for call in calls:
        spec = call.spec
        groups.setdefault((spec.adapter, spec.training.batch_size, call.inputs["theta_pre"]), []).append(call)
    forwards = AdapterBackends(calls[0].spec.backbone)
    for adapter, _, _ in groups:
        forwards.load(adapter)
    for (adapter, _, theta_pre), group in groups.items():
        try:
            forward = forwards.forward(adapter, theta_pre)
        except InputError as error:
            yield from ((call.name, error) for call in group)
            continue
        size = _size(capacity, forward, group, team)
        if isinstance(size, InputError):
            yield from ((call.name, size) for call in group)
            continue
        yield from Bank(BankPass(forward, team), group, progress, size, team).train()


class Bank(Generic[M]):
    """Members in lock-step: one batch for all, and then each goes its own way."""

    def __init__(
        self,
        passes: Passes[M],
        calls: Sequence[JobCall[Any]],
        progress: Progress,
        capacity: int,
        team: DataParallel = ALONE,
    ) -> None:
        """At most `capacity` of `calls` are in memory at a time; every worker of `team` has the same ones."""
        self._passes = passes
        self._team = team
        self._meter = Throughput(passes.shape, passes.device, team.size)
        self._report = progress
        self._capacity = capacity
        self._waiting = deque(calls)
        self._active: list[M] = []
        self._ended: list[tuple[JobCall[Any], M | Exception]] = []
        # Counted in batches, over all tries: what tells checkpoints of one moment from those of another.
        self._common = checkpoint.common_time([call.checkpoint for call in calls])
        self._time: int = team.all_gather(self._common or 0)[0]
        self._last_report = time.monotonic()
        self._cadence = checkpoint.Cadence()
        self._writer = CheckpointWriter()
        # False while a batch's gradients are taken: a state that is no moment of any training is never written.
        self._settled = True

    def train(self) -> Iterator[Outcome]:
        """Run until every member has ended."""
        try:
            while self._active or self._waiting:
                self._admit()
                self._evaluate()
                for member in [member for member in self._active if member.learner.done]:
                    self._part(member, member)
                yield from self._end()
                if self._active:
                    self._one_batch()
                    self._watch_clock()
            yield from self._end()
        except (KeyboardInterrupt, SystemExit, GeneratorExit, WorkerLostError):
            if self._settled:
                self._save(self._active)
            raise
        finally:
            self._writer.wait()

    def _admit(self) -> None:
        """Fill the bank from those waiting; those that a checkpoint shows as done end at once."""
        while self._waiting and len(self._active) < self._capacity:
            call = self._waiting.popleft()
            member = self._team.main_first(lambda call=call: self._start(call))  # type: ignore[misc]
            faults = self._team.all_gather(str(member) if isinstance(member, Exception) else "")
            if isinstance(member, Exception) or any(faults):
                self._ended.append((call, _failure(member, faults)))
                continue
            member.learner.follow(self._team)
            if member.learner.done:
                self._ended.append((call, member))
            else:
                self._active.append(member)

    def _start(self, call: JobCall[Any]) -> M | Exception:
        try:
            with panics_as_faults(), phase("preparing"):
                member = self._passes.start(call)
            if self._team.is_main:
                member.resume(self._common)
        except Exception as error:  # noqa: BLE001  (whatever is wrong with one's data ends that member alone)
            return error
        return member

    def _part(self, member: M, outcome: M | Exception) -> None:
        self._active.remove(member)
        self._ended.append((member.call, outcome))

    def _end(self) -> Iterator[Outcome]:
        """Yield the outcomes of those that have ended; first save everything, as the caller may be killed."""
        if not self._ended:
            return
        ended, self._ended = self._ended, []
        with phase("writing"):
            self._save([*self._active, *(one for _, one in ended if not isinstance(one, Exception))])
            self._writer.wait()
        for call, one in ended:
            if not isinstance(one, Exception) and self._team.is_main:
                one.write()
            yield call.name, self._result(one) if not isinstance(one, Exception) else one

    def _result(self, member: M) -> JobResult:
        result = member.result()
        return replace(result, metrics={**result.metrics, **self._meter.record()})

    def _one_batch(self) -> None:
        started = time.monotonic()
        faults: dict[str, str] = {}
        groups = [self._next_batch(member, faults) for member in self._active]
        losses, gradients = self._passes.losses(self._active, groups)
        values: list[float] = losses.tolist()
        if not all(map(math.isfinite, values)):
            # Every worker sees the same values, so all come here, or none.
            faults = {name: text for told in reversed(self._team.all_gather(faults)) for name, text in told.items()}
        seconds = time.monotonic() - started
        self._meter.add(groups, seconds)
        self._settled = False
        self._time += 1
        for member, loss, gradient, group in zip(list(self._active), values, gradients, groups, strict=True):
            member.learner.progress.took(seconds, among=len(groups))
            try:
                if member.call.name in faults:
                    raise CorpusError(faults[member.call.name])
                labels = sum(len(example.labels) for example in group)
                member.learner.learn(gradient, loss, sum(example.tokens for example in group), labels)
            except (ArithmeticError, CorpusError) as error:
                self._part(member, error)
        self._settled = True

    @staticmethod
    def _next_batch(member: M, faults: dict[str, str]) -> list[Example]:
        """The next batch; an empty one, and a line in `faults`, when its data cannot be read."""
        try:
            return member.next_batch()
        except (OSError, ValueError, IndexError, InputError) as error:
            faults[member.call.name] = f"{type(error).__name__}: {error}"
            return []

    def _evaluate(self) -> None:
        due = [member for member in self._active if member.learner.evaluation_due]
        if not due:
            return
        started = time.monotonic()
        values = self._passes.held_out_values(due)
        seconds = time.monotonic() - started
        self._settled = False
        for member, value in zip(due, values, strict=True):
            member.learner.progress.took(seconds, among=len(due))
            try:
                member.learner.record_evaluation(value)
            except ArithmeticError as error:
                self._part(member, error)
        self._settled = True

    def _watch_clock(self) -> None:
        if self._cadence.due():
            self._save(self._active)
        now = time.monotonic()
        if now - self._last_report >= PROGRESS_SECONDS:
            self._last_report = now
            device = self._meter.live()
            for member in self._active:
                self._report(member.call.name, {**member.learner.live(), **device})

    def _save(self, members: Sequence[M]) -> None:
        """Begin to write checkpoints; training need not wait for the disk."""
        if not self._team.is_main:
            return
        started = time.monotonic()
        self._writer.write([member.snapshot() for member in members], self._time)
        self._cadence.written(started)


def _size(
    capacity: int | None, forward: AdapterBackend, calls: Sequence[LanguageCall], team: DataParallel
) -> int | InputError:
    if capacity != CHOSEN:
        return len(calls) if capacity is None else capacity
    try:
        return chosen_size(forward, calls, team)
    except InputError as error:
        return error


def _failure(own: object, faults: Sequence[str]) -> Exception:
    """Why a member cannot start: this worker's own reason, or what another one says."""
    if isinstance(own, Exception):
        return own
    return CorpusError(next(f"worker {rank}: {text}" for rank, text in enumerate(faults) if text))
