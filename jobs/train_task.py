"""Train a task adapter and its head, stacked on the frozen language adapter of the task's language."""

from __future__ import annotations

import dataclasses
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jobs import checkpoint
from jobs.adapters.adapterhub import read_adapter, write_adapter
from jobs.adapters.bottleneck import initial_weights, named, tagging_head
from jobs.adapters.kinds import Adapter, Head
from jobs.backbone import Backbone, load_backbone
from jobs.bank import BankWeights, bank_weights, check_fits, check_supported
from jobs.batches import BatchOrder, Example, collate
from jobs.data.token_labels import TokenExample, TokenExamples, token_labels
from jobs.data.tokenizer import key_of
from jobs.encoder import FrozenEncoder, Rows, activation_named
from jobs.errors import Fault, InputError
from jobs.evaluation_sets import EvaluationSet, WordSet, prepare
from jobs.job import JobCall, JobResult, Progress, no_progress
from jobs.layout import Layout
from jobs.learner import Learner
from jobs.metrics import f1, span_statistics
from jobs.spec import BottleneckConfig, TaskAdapterSpec

PROGRESS_SECONDS = 1.0
_HEAD_WEIGHT, _HEAD_BIAS = "heads.*.1.weight", "heads.*.1.bias"


def train_task(call: JobCall, progress: Progress = no_progress) -> JobResult:
    """Train the task adapter of a `TaskAdapterSpec` of kind "ner" and write it with its head into `call.output`.

    Input: `language:<code>`, the language adapter of the task's language, which stays frozen. The weights with
    the best span F1 on the validation split are kept. The backbone's dropout is off, as in language training.
    An AdapterHub directory named by the task is written; `load_adapter` brings the head with it. Training that
    was killed goes on from `call.checkpoint`. Raises InputError for what the user can mend.
    """
    spec = call.spec
    assert isinstance(spec, TaskAdapterSpec)
    trainer = TaskTrainer(call, spec, load_backbone(spec.backbone))
    trainer.train(progress)
    trainer.write()
    return trainer.learner.result("validation_f1", trainer.details)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The task adapter as initialized, its head, and the frozen language adapter below it."""

    task: Adapter
    head: Head
    language: Adapter


class TaskTrainer:
    """One task adapter in training."""

    def __init__(self, call: JobCall, spec: TaskAdapterSpec, backbone: Backbone) -> None:
        """Read data and adapters, and the checkpoint if there is one."""
        self._call, self._spec = call, spec
        self._parts = _read_parts(call, spec, backbone)
        self._encoder = FrozenEncoder(backbone)
        self._pad: int = backbone.tokenizer.pad_token_id
        self._language = _frozen(self._parts.language, backbone.device)
        self._layout = Layout.of({**self._parts.task.tensors, **self._parts.head.tensors})
        vector = self._layout.flatten({**self._parts.task.tensors, **self._parts.head.tensors})
        self.learner = Learner(vector.to(backbone.device), self._layout.decayed, spec.training, "max")
        train = token_labels(spec.data, "train", spec.task, spec.backbone, spec.training.max_length, call.cache)
        self._rows, self._lengths = _labelled(train)
        self._held_out = _held_out(spec, backbone, call.cache)
        key = f"{spec.task.name}:{spec.language}"
        self._order = BatchOrder(self._lengths, spec.training.batch_size, spec.seed, key)
        self._identity = key_of(spec, list(self._layout.shapes))
        self.details: dict[str, Any] = {
            "backbone_dropout": 0.0,
            "train_sentences": len(self._rows),
            "language_adapter": self._parts.language.name,
        }
        self.details |= checkpoint.resume(self.learner, call.checkpoint, None, self._identity)

    def train(self, progress: Progress) -> None:
        """Run to the end; checkpoints now and then, and when stopped."""
        cadence, last_report = checkpoint.Cadence(), time.monotonic()
        try:
            while True:
                started = time.monotonic()
                # Due after the last batch, or after the one before a checkpoint.
                if self.learner.evaluation_due:
                    self.learner.record_evaluation(self._validation_f1())
                if self.learner.done:
                    break
                self._one_batch()
                now = time.monotonic()
                self.learner.progress.seconds += now - started
                if cadence.due():
                    self._save()
                    cadence.written(now)
                if now - last_report >= PROGRESS_SECONDS:
                    last_report = now
                    progress(self._call.name, self.learner.live())
        except (KeyboardInterrupt, SystemExit):
            self._save()
            raise
        self._save()

    def write(self) -> None:
        """Write the best state: adapter and head, named by the task."""
        tensors = self._layout.tensors(self.learner.best)
        head = Head(self._parts.head.config, {name: tensors.pop(name) for name in (_HEAD_WEIGHT, _HEAD_BIAS)})
        write_adapter(named(self._parts.task, self._spec.task.name, tensors, head), self._call.output)

    def _save(self) -> None:
        time_now = self.learner.progress.batches
        checkpoint.save(self.learner, self._call.checkpoint, time_now, self._identity)
        checkpoint.remove_older(self._call.checkpoint, time_now)

    def _one_batch(self) -> None:
        rows = self._order[self.learner.progress.batches]
        examples = [self._rows[row] for row in rows.tolist()]
        batch = collate([examples], self._pad, self._encoder.device)
        vector = self.learner.vector.clone().requires_grad_()
        logits = self._logits(batch.rows, self._layout.split(vector[None]))
        loss = torch.nn.functional.cross_entropy(logits.float(), batch.labels)
        (gradient,) = torch.autograd.grad(loss, vector)
        self.learner.learn(gradient, loss.item(), sum(len(example.ids) for example in examples))

    def _logits(self, rows: Rows, tensors: dict[str, Tensor]) -> Tensor:
        """Logits [K, labels] at the wanted places, under `tensors`, the split of a vector."""
        adapter = {name: tensor for name, tensor in tensors.items() if name not in (_HEAD_WEIGHT, _HEAD_BIAS)}
        stack = (self._language, bank_weights(adapter, _activation(self._parts.task)))
        device = self._encoder.device.type
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            hidden = self._encoder.hidden_states(rows, stack)[0]
            return torch.nn.functional.linear(hidden, tensors[_HEAD_WEIGHT][0], tensors[_HEAD_BIAS][0])

    @torch.no_grad()
    def _validation_f1(self) -> float:
        """Span F1 in points, as every evaluation counts it."""
        held_out = self._held_out
        tensors = self._layout.split(self.learner.vector[None])
        predictions = np.full(len(held_out.gold), held_out.labels.index("O"), dtype=np.int64)
        for batch in held_out.batches:
            predictions[batch.targets] = self._logits(batch.rows, tensors).argmax(-1).cpu().numpy()
        statistics = span_statistics(held_out.gold, predictions, held_out.sentences, held_out.labels)
        return float(f1(statistics.sum(axis=0)))


def _held_out(spec: TaskAdapterSpec, backbone: Backbone, cache: Path) -> WordSet:
    """The first `evaluation_examples` sentences of the validation split."""
    limits = dict(spec.data.limits)
    limits["validation"] = min(spec.training.evaluation_examples, limits.get("validation", sys.maxsize))
    data = dataclasses.replace(spec.data, limits=tuple(sorted(limits.items())))
    prepared = prepare(EvaluationSet(spec.task, data, "validation", spec.training.max_length), backbone, cache)
    assert isinstance(prepared, WordSet)
    return prepared


def _read_parts(call: JobCall, spec: TaskAdapterSpec, backbone: Backbone) -> _Parts:
    if spec.training.max_length > backbone.max_length:
        got, todo = str(spec.training.max_length), f"use at most {backbone.max_length}"
        raise InputError(Fault("max_length is beyond the backbone's positions", "training.max_length", got, todo))
    language = read_adapter(call.inputs[f"language:{spec.language}"])
    assert isinstance(spec.adapter, BottleneckConfig)
    task = initial_weights(backbone, spec.adapter, spec.task.name)
    check_supported(language)
    check_supported(task)
    check_fits(language, backbone.model.config.hidden_size, backbone.model.config.num_hidden_layers)
    return _Parts(task, tagging_head(backbone, spec.task.labels, spec.seed), language)


def _frozen(adapter: Adapter, device: torch.device) -> BankWeights:
    stacked = {name: tensor[None].float().to(device) for name, tensor in adapter.tensors.items()}
    return bank_weights(stacked, _activation(adapter))


def _activation(adapter: Adapter) -> Any:
    return activation_named(str(adapter.settings["non_linearity"]))


def _example(one: TokenExample) -> Example:
    places = np.flatnonzero(one.labels >= 0)
    return Example(one.input_ids, places, one.labels[places])


def _labelled(examples: TokenExamples) -> tuple[list[Example], Any]:
    """The examples that have a label at all, and their lengths."""
    rows = [row for one in examples if len((row := _example(one)).places)]
    if not rows:
        raise InputError(Fault("no training sentence has a labelled word", "data"))
    return rows, np.array([len(row.ids) for row in rows])
