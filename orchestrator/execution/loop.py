"""execute: the ready-set loop. Finished steps are reused, a failed step skips its dependants, the rest goes on."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.errors import InputError
from jobs.runtime.redaction import redacted
from jobs.runtime.shutdown import ShutdownRequested
from jobs.spec import JobCall, JobResult
from orchestrator.execution.executor import Executor, State, StepFinished, StepProgress, StepStateChanged, Watcher, Work
from orchestrator.execution.shutdown import ShutdownRequest
from orchestrator.store.artifacts import ArtifactStore, Inventory, take_inventory
from orchestrator.store.graph import StepGraph
from orchestrator.store.record import CorruptArtifactError, Record
from orchestrator.store.step import Step

# Waiting for the disk (or a bucket) is most of a commit, and a disk brings many files down as fast as one.
COMMITS_AT_ONCE = 16


@dataclass(slots=True)
class Summary:
    """Counts and records of one execution."""

    states: dict[str, State] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def count(self, *states: State) -> int:
        """How many steps ended in one of `states`."""
        return sum(1 for state in self.states.values() if state in states)


# Adds files for people (a model card) to a step's staging directory before it is committed.
Describe = Callable[[Step, Path, JobResult, Mapping[str, Record]], None]


def describe_nothing(step: Step, staging: Path, result: JobResult, inputs: Mapping[str, Record]) -> None:
    """Add no files."""


def execute(
    steps: Iterable[Step],
    store: ArtifactStore,
    executor: Executor,
    watch: Watcher,
    provenance: Mapping[str, Any],
    describe: Describe = describe_nothing,
    shutdown: ShutdownRequest | None = None,
    found: Inventory | None = None,
) -> Summary:
    """Bring every step to its end. `steps`: inputs before those that need them, and the most urgent first.

    Never raises for a step's failure: see `Summary.errors`. Reused artifacts are verified byte by byte before
    another step consumes them, all others by size; a damaged one is moved to `rejected/` and computed again.
    Raises ShutdownRequested when `shutdown` told the run to end before every step had come to its own.
    `found`: what the store has of the steps, where that is known.
    """
    by_key = {step.key: step for step in steps}
    summary = _reused(by_key, store, found or take_inventory(by_key.values(), store))
    graph = StepGraph(step for key, step in by_key.items() if key not in summary.records)
    shutdown = shutdown or ShutdownRequest()
    return _Execution(by_key, graph, summary, store, executor, watch, provenance, describe, shutdown).run()


def _reused(steps: Mapping[str, Step], store: ArtifactStore, found: Inventory) -> Summary:
    """Check what new steps will read; a rejected input is new itself, so its inputs are checked too."""
    records = {key: found.records[key] for key in steps if key in found.records}
    damaged, checked = dict(found.damaged), set[str]()
    stack = [key for key in steps if key not in records]
    while stack:
        for _, source in steps[stack.pop()].inputs:
            if source.key in checked or source.key not in records:
                continue
            checked.add(source.key)
            try:
                store.verify(records[source.key])
            except CorruptArtifactError as damage:
                del records[source.key]
                damaged[source.key] = damage
                stack.append(source.key)
    text = "{}: computed again; the damaged files are in {}"
    return Summary(records=records, notes=[text.format(damage, store.reject(key)) for key, damage in damaged.items()])


@dataclass(slots=True)
class _Execution:
    steps: dict[str, Step]
    graph: StepGraph
    summary: Summary
    store: ArtifactStore
    executor: Executor
    watch: Watcher
    provenance: Mapping[str, Any]
    describe: Describe
    shutdown: ShutdownRequest
    submitted: set[str] = field(default_factory=set)

    def run(self) -> Summary:
        for key in self.summary.records:
            self._change(key, "reused", self.summary.records[key])
        self._submit(self.graph.ready())
        with ThreadPoolExecutor(COMMITS_AT_ONCE, "commit") as committers:
            while self.submitted:
                self._take(self.executor.poll(0.5), committers)
        if len(self.summary.states) < len(self.steps):
            raise ShutdownRequested
        return self.summary

    def _take(self, events: Sequence[StepFinished | StepProgress], committers: ThreadPoolExecutor) -> None:
        """Bring what has finished together to disk together; all else goes on in the order of the events."""
        finished: dict[str, StepFinished] = {}
        for event in events:
            if isinstance(event, StepProgress):
                self.watch(event)
            elif event.key in self.submitted:
                finished.setdefault(event.key, event)
        commits = {
            event.key: committers.submit(self._commit, self.steps[event.key], event, event.outcome)
            for event in finished.values()
            if isinstance(event.outcome, JobResult)
        }
        for event in finished.values():
            self._finish(event, commits.get(event.key))

    def _submit(self, steps: Sequence[Step]) -> None:
        works = []
        for step in () if self.shutdown.is_requested else steps:
            inputs = {role: self.store.path(source.key) for role, source in step.inputs}
            try:
                staging = self.store.stage(step)
            except OSError as fault:
                self._fail(step, fault)
                continue
            checkpoint = self.store.checkpoint(step)
            places = (inputs, staging, checkpoint, self.store.cache, self.store.reference)
            call = JobCall(step.key, step.spec, *places, self.store.again(step))
            works.append(Work(step, call, self.graph.ranks[step.key]))
            self.submitted.add(step.key)
            self._change(step.key, "running")
        if works:
            self.executor.submit(works)

    def _finish(self, event: StepFinished, commit: Future[Record] | None) -> None:
        step = self.steps[event.key]
        if isinstance(event.outcome, Exception) or commit is None:
            assert isinstance(event.outcome, Exception)
            self._fail(step, event.outcome)
            return
        try:
            record = commit.result()
        except Exception as fault:  # noqa: BLE001 - a full disk, a metric that is NaN: this step failed, others go on
            self._fail(step, fault)
            return
        self.submitted.discard(step.key)
        self.summary.records[step.key] = record
        self._change(step.key, "succeeded", record)
        self._submit(self.graph.done(step))

    def _commit(self, step: Step, event: StepFinished, result: JobResult) -> Record:
        """Runs in a thread beside others: it changes nothing but this step's files."""
        facts = {
            "started": _iso(event.started or time.time() - event.seconds),
            "finished": _iso(time.time()),
            "seconds": round(event.seconds, 3),
            "executor": self.executor.name,
            **({"work": [asdict(one) for one in result.work]} if result.work else {}),
            **self.provenance,
        }
        staging = self.store.staging(step)
        inputs = {role: self.summary.records[source.key] for role, source in step.inputs}
        self.describe(step, staging, result, inputs)
        return self.store.commit(step, staging, result, facts)

    def _fail(self, step: Step, error: Exception) -> None:
        self.submitted.discard(step.key)
        self.store.discard(step)
        if self.shutdown.is_requested:
            return  # whatever stopped it now may be the end of the run: the next one tries it again
        faults = map(str, error.faults) if isinstance(error, InputError) else [_said(error, self.store.root)]
        text = redacted("; ".join(faults))
        self.summary.errors[step.key] = text
        self._change(step.key, "failed", error=text)
        for dependant in self.graph.give_up(step):
            self._change(dependant.key, "skipped", error=f"needs {step.key}")

    def _change(self, key: str, state: State, record: Record | None = None, error: str = "") -> None:
        if state != "running":
            self.summary.states[key] = state
        self.watch(StepStateChanged(self.steps[key], state, record, error))


def _said(error: Exception, root: Path) -> str:
    """An error that is none of the user's; a full disk does not say by itself which one it is."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT) and not error.filename
    return f"{type(error).__name__}: {error}{f': the disk of {root}' if full else ''}"


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
