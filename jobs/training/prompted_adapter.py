"""Train a language model's task adapter on prompts and answers; the loss is that of the answers alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from jobs.adapters.peft import write_adapter
from jobs.evaluation.prompted import (
    ChoiceSet,
    TextSet,
    prepare_prompted,
    prompt_request,
    score_prompted,
    training_example,
)
from jobs.models.language_model import LanguageModel, load_language_model
from jobs.models.peft.model import InjectedModel, applied_adapters
from jobs.models.row_dropout import refuse_backbone_dropout
from jobs.runtime.phases import phase
from jobs.spec import (
    DataRef,
    JobCall,
    JobResult,
    Progress,
    Split,
    TaskAdapterSpec,
    adapter_dropout,
    metric_of,
    no_progress,
)
from jobs.spec.identity import key_of
from jobs.tokens.batches import Example, task_order
from jobs.tokens.evaluation_sets import EvaluationSet, check_length, validation_of
from jobs.tokens.lm_batches import collate
from jobs.tokens.prompt_tokens import PromptSet, prompt_tokens
from jobs.training.initial import language_below, theta_pre_of
from jobs.training.learner import Learner
from jobs.training.loop import Loop


def train_prompted(call: JobCall[TaskAdapterSpec], progress: Progress = no_progress) -> JobResult:
    """Train the task adapter of a `TaskAdapterSpec` whose task has a prompt, and write it into `call.output`.

    Input: `theta_pre`, a LoRA, (IA)3, LoKr or prefix adapter in PEFT's format, which gives shape and initial values;
    with `language:<code>`, that frozen adapter acts below the new one in every pass (MAD-X, arXiv 2005.00052).
    The weights that are best on the validation split are kept: by the loss of its answers, or by the task's metric
    (`training.best_by`). The backbone's dropout is off. A PEFT directory is written; `PeftModel.from_pretrained`
    loads it. Training that was killed goes on from `call.checkpoint`. Raises InputError for what the user can mend.
    """
    spec = call.spec
    training = PromptedTraining(call, load_language_model(spec.backbone))
    loop = Loop(call, key_of(spec, list(training.injected.layout.shapes)))
    details = {**training.details, **loop.resume(training.learner)}
    with applied_adapters(training.model, training.below):
        loop.run(training, progress)
    training.write()
    name = "loss" if spec.training.best_by == "loss" else metric_of(spec.task)[0]
    return training.learner.result(f"validation_{name}", details)


class PromptedTraining:
    """One task adapter in training; `below`: the frozen language adapter to train on top of, if any."""

    def __init__(self, call: JobCall[TaskAdapterSpec], model: LanguageModel) -> None:
        """Read data and theta_pre. Raises InputError for faulty data and an adapter that does not fit the model."""
        spec = call.spec
        self._call, self._spec, self.model = call, spec, model
        check_length(spec.training.max_length, model, "training.max_length")
        refuse_backbone_dropout(spec.training.backbone_dropout, call.name)
        self._theta_pre = theta_pre_of(call)
        self.injected = InjectedModel(model, self._theta_pre)
        self.below = language_below(call, spec)
        vector = self.injected.layout.flatten(self._theta_pre.tensors).to(model.device)
        with phase("preparing"):
            sources = [self._tokens(data, "train") for data in (spec.data, *spec.more_data)]
            self._rows = [row for source in sources for row in _examples(source, model)]
        better = "min" if spec.training.best_by == "loss" else metric_of(spec.task)[1]
        self.learner = Learner(vector, self.injected.layout.decayed, spec.training.over(len(self._rows)), better)
        lengths = np.array([row.tokens for row in self._rows])
        self._order = task_order(lengths, spec)
        held_out = validation_of((spec.data, *spec.more_data), spec.training.evaluation_examples)
        with phase("preparing"):
            self._held_out = [row for data in held_out for row in _examples(self._tokens(data, "validation"), model)]
            self._scored = [] if spec.training.best_by == "loss" else [self._prepared(data) for data in held_out]
        self.details = self._described(sources)

    def learn_batch(self, number: int) -> None:
        """Mean loss over the answers' tokens of one batch."""
        chosen = [self._rows[row] for row in self._order[number].tolist()]
        examples = self._order.dropped(chosen, number, adapter_dropout(self._spec.adapter))
        vector = self.learner.vector.clone().requires_grad_()
        loss = self.injected.token_losses(collate([examples], self.model), vector[None]).mean()
        (gradient,) = torch.autograd.grad(loss, vector)
        labels = sum(len(example.labels) for example in examples)
        self.learner.learn(gradient, loss.item(), sum(example.tokens for example in examples), labels)

    def held_out_value(self) -> float:
        """Mean loss per answer token in nats, or the metric, over the validation data of all languages."""
        with torch.inference_mode():
            return self._loss() if self._spec.training.best_by == "loss" else self._metric()

    def write(self) -> None:
        """Write the best state, named by the task."""
        tensors = self.injected.layout.tensors(self.learner.best)
        write_adapter(
            dataclasses.replace(self._theta_pre, tensors=tensors, name=self._spec.task.name), self._call.output
        )

    def _loss(self) -> float:
        total, count, size = 0.0, 0, self._spec.training.batch_size
        for start in range(0, len(self._held_out), size):
            batch = collate([self._held_out[start : start + size]], self.model)
            losses = self.injected.token_losses(batch, self.learner.vector[None])
            total, count = total + float(losses.double().sum()), count + len(losses)
        return total / count

    def _metric(self) -> float:
        with self.injected.applied(self.learner.vector[None]):
            scores = [score_prompted(prepared, self.model) for prepared in self._scored]
        return float(np.average([one.value for one in scores], weights=[len(one.statistics) for one in scores]))

    def _tokens(self, data: DataRef, split: Split) -> PromptSet:
        return prompt_tokens(prompt_request(self._set(data, split), self.model), self._call.cache)

    def _prepared(self, data: DataRef) -> ChoiceSet | TextSet:
        return prepare_prompted(self._set(data, "validation"), self.model, self._call.cache)

    def _set(self, data: DataRef, split: Split) -> EvaluationSet:
        return EvaluationSet(self._spec.task, data, split, self._spec.training.max_length)

    def _described(self, sources: list[PromptSet]) -> dict[str, Any]:
        details: dict[str, Any] = {
            "backbone_dropout": 0.0,
            "train_examples": len(self._rows),
            "validation_examples": len(self._held_out),
            "validation_limit": self._spec.training.evaluation_examples,
            **self._spec.training.length_over(len(self._rows)),
            "best_by": self._spec.training.best_by,
            "cut_prompts": sum(source.cut_prompts for source in sources),
            "cut_answers": sum(source.cut_answers for source in sources),
            **(
                {} if self._spec.task.examples is None else {"lost_examples": sum(one.lost_examples for one in sources)}
            ),
            **({"on_top_of": self._spec.language} if self.below else {}),
        }
        return {**details, **({"notes": list(self.model.notes)} if self.model.notes else {})}


def _examples(source: PromptSet, model: LanguageModel) -> Iterator[Example]:
    return (training_example(one.prompt, one.answer, model) for one in source)
