"""Train a task adapter and its head, stacked on the frozen language adapter of the task's language."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs.adapters.adapterhub import read_adapter, write_adapter
from jobs.adapters.bottleneck import initial_weights, named
from jobs.adapters.heads import layers_of, new_head
from jobs.adapters.kinds import Adapter, Head
from jobs.backbone import Backbone, load_backbone
from jobs.bank import BankWeights, bank_weights, check_fits, check_supported
from jobs.batches import BatchOrder, collate
from jobs.data.tokenizer import key_of
from jobs.encoder import FrozenEncoder, Rows, activation_named
from jobs.errors import Fault, InputError
from jobs.evaluation_sets import EvaluationSet
from jobs.job import JobCall, JobResult, Progress, no_progress
from jobs.layout import Layout
from jobs.learner import Learner
from jobs.metrics import metric_over
from jobs.spec import BottleneckConfig, TaskAdapterSpec, metric_of
from jobs.tasks.protocol import ScoredSet
from jobs.tasks.table import task_of
from jobs.training_loop import Loop


def train_task(call: JobCall, progress: Progress = no_progress) -> JobResult:
    """Train the task adapter of a `TaskAdapterSpec` and write it with its head into `call.output`.

    Input: `language:<code>`, the language adapter of the task's language, which stays frozen. The weights with
    the best metric on the validation split are kept.
    An AdapterHub directory named by the task is written; `load_adapter` brings the head with it. Training that
    was killed goes on from `call.checkpoint`. Raises InputError for what the user can mend.
    """
    spec = call.spec
    assert isinstance(spec, TaskAdapterSpec)
    trainer = TaskTrainer(call, spec, load_backbone(spec.backbone))
    trainer.loop.run(trainer, progress)
    trainer.write()
    return trainer.learner.result(f"validation_{metric_of(spec.task)[0]}", trainer.details)


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
        self._call, self._spec, self._task = call, spec, task_of(spec.task)
        self._parts = _read_parts(call, spec, backbone)
        self._encoder = FrozenEncoder(backbone)
        self._pad: int = backbone.tokenizer.pad_token_id
        self._language = _frozen(self._parts.language, backbone.device)
        self._layout = Layout.of({**self._parts.task.tensors, **self._parts.head.tensors})
        vector = self._layout.flatten({**self._parts.task.tensors, **self._parts.head.tensors})
        self.learner = Learner(vector.to(backbone.device), self._layout.decayed, spec.training, metric_of(spec.task)[1])
        self._train = self._task.training(spec, call.cache)
        self._held_out = _held_out(spec, backbone, call.cache)
        key = f"{spec.task.name}:{spec.language}"
        self._order = BatchOrder(self._train.lengths, spec.training.batch_size, spec.seed, key)
        self.loop = Loop(call, key_of(spec, list(self._layout.shapes)))
        self.details: dict[str, Any] = {
            "backbone_dropout": spec.training.backbone_dropout,
            **self._train.details,
            "language_adapter": self._parts.language.name,
        }
        self.details |= self.loop.resume(self.learner)

    def write(self) -> None:
        """Write the best state: adapter and head, named by the task."""
        tensors = self._layout.tensors(self.learner.best)
        head = Head(self._parts.head.config, {name: tensors.pop(name) for name in self._parts.head.tensors})
        write_adapter(named(self._parts.task, self._spec.task.name, tensors, head), self._call.output)

    def learn_batch(self, number: int) -> None:
        """One gradient of the mean loss over the batch's examples."""
        rows = [example for row in self._order[number].tolist() for example in self._train.rows(row)]
        examples = self._order.dropped(rows, number, self._spec.training.backbone_dropout)
        batch = collate([examples], self._pad, self._encoder.device)
        vector = self.learner.vector.clone().requires_grad_()
        loss = self._task.loss(self._outputs(batch.rows, self._layout.split(vector[None])).float(), batch)
        (gradient,) = torch.autograd.grad(loss, vector)
        self.learner.learn(gradient, loss.item(), sum(example.tokens for example in examples))

    def _outputs(self, rows: Rows, tensors: dict[str, Tensor]) -> Tensor:
        """The head's outputs [K, width] at the wanted places, under `tensors`, the split of a vector."""
        own = self._parts.head.tensors
        adapter = {name: tensor for name, tensor in tensors.items() if name not in own}
        stack = (self._language, bank_weights(adapter, _activation(self._parts.task)))
        head = layers_of(self._parts.head.config["config"], {name: tensors[name][0] for name in own})
        device = self._encoder.device.type
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            return head(self._encoder.hidden_states(rows, stack)[0])

    @torch.no_grad()
    def held_out_value(self) -> float:
        """The task's metric on the held-out examples, as every evaluation counts it."""
        tensors = self._layout.split(self.learner.vector[None])
        outputs = [self._outputs(batch.rows, tensors).float().cpu() for batch in self._held_out.batches]
        statistics, _ = self._held_out.score(outputs)
        metric = metric_over(metric_of(self._spec.task)[0], self._held_out.columns)
        return float(metric(statistics.sum(axis=0)))


def _held_out(spec: TaskAdapterSpec, backbone: Backbone, cache: Path) -> ScoredSet:
    """The first `evaluation_examples` examples of the validation split."""
    limits = dict(spec.data.limits)
    limits["validation"] = min(spec.training.evaluation_examples, limits.get("validation", sys.maxsize))
    data = dataclasses.replace(spec.data, limits=tuple(sorted(limits.items())))
    evaluation = EvaluationSet(spec.task, data, "validation", spec.training.max_length)
    return task_of(spec.task).evaluation(evaluation, backbone, cache)


def _read_parts(call: JobCall, spec: TaskAdapterSpec, backbone: Backbone) -> _Parts:
    if spec.training.max_length > backbone.max_length:
        got, todo = str(spec.training.max_length), f"use at most {backbone.max_length}"
        raise InputError(Fault("max_length is beyond the backbone's positions", "training.max_length", got, todo))
    if spec.more_data:
        todo = "several languages' data are for adapters that are merged, not stacked"
        raise InputError(
            Fault("a stacked task adapter is trained in one language", f"task {spec.task.name}", todo=todo)
        )
    language = read_adapter(call.inputs[f"language:{spec.language}"])
    assert isinstance(spec.adapter, BottleneckConfig)
    task = initial_weights(backbone, spec.adapter, spec.task.name)
    check_supported(language)
    check_supported(task)
    check_fits(language, backbone.model.config.hidden_size, backbone.model.config.num_hidden_layers)
    return _Parts(task, new_head(backbone, task_of(spec.task).head(spec.task), spec.seed), language)


def _frozen(adapter: Adapter, device: torch.device) -> BankWeights:
    stacked = {name: tensor[None].float().to(device) for name, tensor in adapter.tensors.items()}
    return bank_weights(stacked, _activation(adapter))


def _activation(adapter: Adapter) -> Any:
    return activation_named(str(adapter.settings["non_linearity"]))
