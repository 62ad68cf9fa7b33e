"""Train a task adapter: with a head on an encoder, or on prompts and answers (`jobs.training.prompted_adapter`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jobs.adapters.formats import write_adapter
from jobs.models.flat_layout import Layout
from jobs.models.language_model import load_language_model
from jobs.models.madx_backbone import load_backbone
from jobs.runtime.phases import phase
from jobs.scoring.metrics import metric_over
from jobs.spec import BottleneckConfig, DataRef, JobCall, JobResult, Progress, TaskAdapterSpec, metric_of, no_progress
from jobs.spec.identity import key_of
from jobs.tasks.protocol import ScoredSet, joined
from jobs.tasks.table import task_of
from jobs.tokens.batches import Example, collate, task_order
from jobs.tokens.evaluation_sets import EvaluationSet, check_length, validation_of
from jobs.training.headed import HeadedEncoder, InjectedEncoder, StackedEncoder
from jobs.training.learner import Learner
from jobs.training.loop import Loop
from jobs.training.prompted_adapter import train_prompted


def train_task(call: JobCall[TaskAdapterSpec], progress: Progress = no_progress) -> JobResult:
    """Train the task adapter of a `TaskAdapterSpec` and write it into `call.output`.

    A task with a prompt goes to `train_prompted`. Any other has a head, which is trained and written with it:

    - bottleneck adapters are stacked on the input `language:<code>`, which stays frozen; an AdapterHub directory named
      by the task is written, and `load_adapter` brings the head with it;
    - PEFT's kinds start from the input `theta_pre` (with `language:<code>` they too are trained on top of it); a PEFT
      directory is written, and `PeftModel.from_pretrained` puts the head into `AutoModelForTokenClassification` or
      its like.

    `more_data`: rows of further languages in one stream with the others; a stack has each row's own language adapter
    below it (inputs `language:<code>` of all of them).

    The weights with the best metric on the validation split are kept. Training that was killed goes on from
    `call.checkpoint`. Raises InputError for what the user can mend.
    """
    spec = call.spec
    if spec.task.prompt:
        return train_prompted(call, progress)
    trainer = TaskTrainer(call, headed_encoder(call))
    trainer.loop.run(trainer, progress)
    trainer.write()
    return trainer.learner.result(f"validation_{metric_of(spec.task)[0]}", trainer.details)


def headed_encoder(call: JobCall[TaskAdapterSpec]) -> HeadedEncoder:
    """The encoder that the task's kind of adapter is trained in."""
    spec = call.spec
    if isinstance(spec.adapter, BottleneckConfig):
        backbone = load_backbone(spec.backbone)
        check_length(spec.training.max_length, backbone, "training.max_length")
        return StackedEncoder(call, backbone)
    model = load_language_model(spec.backbone)
    check_length(spec.training.max_length, model, "training.max_length")
    return InjectedEncoder(call, model)


class TaskTrainer:
    """One task adapter and its head in training."""

    def __init__(self, call: JobCall[TaskAdapterSpec], encoder: HeadedEncoder) -> None:
        """Read the data, and the checkpoint if there is one."""
        spec = call.spec
        self._call, self._spec, self._task, self._encoder = call, spec, task_of(spec.task), encoder
        self._layout = Layout.of(encoder.initial)
        vector = self._layout.flatten(encoder.initial).to(encoder.model.device)
        data = (spec.data, *spec.more_data)
        with phase("preparing"):
            parts = [self._task.training(replace(spec, data=one, more_data=()), call.cache) for one in data]
        self._train, self._ends = joined(parts), np.cumsum([len(part.lengths) for part in parts])
        rows = len(self._train.lengths)
        self.learner = Learner(vector, self._layout.decayed, spec.training.over(rows), metric_of(spec.task)[1])
        self._held_out = [self._scored(one) for one in validation_of(data, spec.training.evaluation_examples)]
        self._order = task_order(self._train.lengths, spec)
        self.loop = Loop(call, key_of(spec, list(self._layout.shapes)))
        self.details: dict[str, Any] = {
            **self._train.details,
            **encoder.details,
            **spec.training.length_over(rows),
            "validation_limit": spec.training.evaluation_examples,
        }
        self.details |= self.loop.resume(self.learner)

    def write(self) -> None:
        """Write the best state: adapter and head, named by the task."""
        write_adapter(self._encoder.trained(self._layout.tensors(self.learner.best)), self._call.output)

    def learn_batch(self, number: int) -> None:
        """One gradient of the mean loss over the batch's examples."""
        numbers = [(row, example) for row in self._order[number].tolist() for example in self._train.rows(row)]
        examples = self._order.dropped([example for _, example in numbers], number, self._encoder.dropout)
        groups: dict[int, list[Example]] = defaultdict(list)
        for (row, _), example in zip(numbers, examples, strict=True):
            source = int(np.searchsorted(self._ends, row, side="right"))
            groups[self._encoder.group(source)].append(example)
        vector = self.learner.vector.clone().requires_grad_()
        loss = self._mean_loss(groups, self._layout.split(vector[None]))
        (gradient,) = torch.autograd.grad(loss, vector)
        labels = sum(len(example.labels) for example in examples)
        self.learner.learn(gradient, loss.item(), sum(example.tokens for example in examples), labels)

    def _mean_loss(self, groups: Mapping[int, Sequence[Example]], tensors: Mapping[str, Tensor]) -> Tensor:
        """Mean over all labels, as the loss of each kind of task is; every group has a pass of its own."""
        model, losses, labels = self._encoder.model, [], []
        for group, examples in groups.items():
            batch = collate([examples], model.tokenizer.pad_token_id, model.device)
            losses.append(self._task.loss(self._encoder.outputs(batch.rows, tensors, group).float(), batch))
            labels.append(len(batch.labels))
        return torch.stack(losses) @ (torch.tensor(labels, device=model.device) / sum(labels))

    @torch.no_grad()
    def held_out_value(self) -> float:
        """The task's metric on the held-out examples of all languages, as every evaluation counts it."""
        tensors = self._layout.split(self.learner.vector[None])
        sums, examples = np.zeros(len(self._held_out[0].columns)), 0
        for source, held_out in enumerate(self._held_out):
            group = self._encoder.group(source)
            outputs = [self._encoder.outputs(one.rows, tensors, group).float().cpu() for one in held_out.batches]
            statistics, _ = held_out.score(outputs)
            sums, examples = sums + statistics.sum(axis=0), examples + len(statistics)
        self.details["validation_examples"] = examples
        return float(metric_over(metric_of(self._spec.task)[0], self._held_out[0].columns)(sums))

    @phase("preparing")
    def _scored(self, data: DataRef) -> ScoredSet:
        evaluation = EvaluationSet(self._spec.task, data, "validation", self._spec.training.max_length)
        return self._task.evaluation(evaluation, self._encoder.model, self._call.cache)
