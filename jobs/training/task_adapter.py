"""One task adapter with its head in training: its data, its stream of batches, its learner, its held-out metric."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from jobs.adapters.formats import write_adapter
from jobs.models.flat_layout import Layout
from jobs.runtime.phases import phase
from jobs.scoring.metrics import metric_over
from jobs.spec import DataRef, JobCall, JobResult, TaskAdapterSpec, metric_of
from jobs.spec.identity import key_of
from jobs.tasks.protocol import ScoredSet, joined
from jobs.tasks.table import task_of
from jobs.tokens.batches import Example, task_order
from jobs.tokens.evaluation_sets import EvaluationSet, validation_of
from jobs.training import checkpoint
from jobs.training.checkpoint import Snapshot, State, snapshot
from jobs.training.headed import HeadedEncoder
from jobs.training.learner import Learner


class TaskTrainer:
    """One task adapter and its head in training, a member of a bank (`jobs.banks.member`)."""

    def __init__(self, call: JobCall[TaskAdapterSpec], encoder: HeadedEncoder) -> None:
        """Read the data. Raises InputError for what the user can mend."""
        spec = call.spec
        self.call, self.task, self.encoder = call, task_of(spec.task), encoder
        self.layout = Layout.of(encoder.initial)
        vector = self.layout.flatten(encoder.initial).to(encoder.model.device)
        data = (spec.data, *spec.more_data)
        with phase("preparing"):
            parts = [self.task.training(replace(spec, data=one, more_data=()), call.cache) for one in data]
        self._train, self._ends = joined(parts), np.cumsum([len(part.lengths) for part in parts])
        rows = len(self._train.lengths)
        self.learner = Learner(vector, self.layout.decayed, spec.training.over(rows), metric_of(spec.task)[1])
        self._held_out = [self._scored(one) for one in validation_of(data, spec.training.evaluation_examples)]
        self._order = task_order(self._train.lengths, spec)
        self._details: dict[str, Any] = {
            **self._train.details,
            **encoder.details,
            **spec.training.length_over(rows),
            "validation_limit": spec.training.evaluation_examples,
        }

    def next_batch(self) -> list[Example]:
        """The next batch: the rows of one example after the other. What it is depends on nothing but its number."""
        number = self.learner.progress.batches
        examples = [example for row in self._order[number].tolist() for example in self._train.rows(row)]
        return self._order.dropped(examples, number, self.encoder.dropout)

    def lanes(self, batch: Sequence[Example]) -> dict[int, list[Example]]:
        """The examples of `next_batch` by the encoder's group, each of which needs a pass, or a part of one."""
        if len(self._ends) == 1:
            return {self.encoder.group(0): list(batch)}
        numbers = self._order[self.learner.progress.batches].tolist()
        sources = [int(np.searchsorted(self._ends, row, side="right")) for row in numbers]
        of_each = [source for source, row in zip(sources, numbers, strict=True) for _ in self._train.rows(row)]
        groups: dict[int, list[Example]] = defaultdict(list)
        for source, example in zip(of_each, batch, strict=True):
            groups[self.encoder.group(source)].append(example)
        return groups

    def resume(self, time: int | None) -> None:
        """Go on from the checkpoint at `time` (else the newest), if there is a readable one; say what was wrong."""
        self._details |= checkpoint.resume(self.learner, self.call.checkpoint, time, self._identity)

    def snapshot(self) -> Snapshot:
        """What a checkpoint of this moment holds."""
        return snapshot(self.call.checkpoint, self._identity, self.learner.done, State(*self.learner.state()))

    def write(self) -> None:
        """Write the best state: adapter and head, named by the task."""
        write_adapter(self.encoder.trained(self.layout.tensors(self.learner.best)), self.call.output)

    def result(self) -> JobResult:
        """What the record says of a finished training."""
        return self.learner.result(f"validation_{metric_of(self.call.spec.task)[0]}", self._details)

    @torch.no_grad()
    def held_out_value(self) -> float:
        """The task's metric on the held-out examples of all languages, as every evaluation counts it."""
        tensors = self.layout.split(self.learner.vector[None])
        sums, examples = np.zeros(len(self._held_out[0].columns)), 0
        for source, held_out in enumerate(self._held_out):
            group = self.encoder.group(source)
            outputs = [self.encoder.outputs(one.rows, tensors, group).float().cpu() for one in held_out.batches]
            statistics, _ = held_out.score(outputs)
            sums, examples = sums + statistics.sum(axis=0), examples + len(statistics)
        self._details["validation_examples"] = examples
        return float(metric_over(metric_of(self.call.spec.task)[0], self._held_out[0].columns)(sums))

    @property
    def _identity(self) -> str:
        return key_of(self.call.spec, list(self.layout.shapes))

    @phase("preparing")
    def _scored(self, data: DataRef) -> ScoredSet:
        evaluation = EvaluationSet(self.call.spec.task, data, "validation", self.call.spec.training.max_length)
        return self.task.evaluation(evaluation, self.encoder.model, self.call.cache)
