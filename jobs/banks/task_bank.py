"""Train task adapters: with heads on an encoder in banks, on prompts and answers one after another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from jobs.banks.bank import Bank, Outcome
from jobs.errors import InputError
from jobs.models.hooked_encoder import encoder_of
from jobs.models.language_model import LanguageModel, load_language_model
from jobs.models.madx_backbone import Backbone, load_backbone
from jobs.runtime.library_faults import panics_as_faults
from jobs.runtime.malloc import keep_freed_memory
from jobs.spec import AdapterConfig, BackboneRef, BottleneckConfig, JobCall, Progress, TaskAdapterSpec, no_progress
from jobs.tokens.batches import Example, collate
from jobs.tokens.evaluation_sets import check_length
from jobs.training.headed import HeadedEncoder, InjectedEncoder, Lane, StackedEncoder
from jobs.training.prompted_adapter import train_prompted
from jobs.training.task_adapter import TaskTrainer
from jobs.training.throughput import ModelShape, model_shape

TaskCall = JobCall[TaskAdapterSpec]
# Of the rows that pass at a time: on a CPU more are no faster and take more memory.
TOKENS = {"cpu": 2048, "cuda": 1 << 16}


def train_tasks(
    calls: Sequence[TaskCall], progress: Progress = no_progress, capacity: int | None = None
) -> Iterator[Outcome]:
    """Train the task adapters of `calls`, which share a backbone; yield (call.name, result or exception) as each ends.

    A task with a prompt goes to `train_prompted`. Any other has a head, which is trained and written with it:

    - bottleneck adapters are stacked on the input `language:<code>`, which stays frozen; an AdapterHub directory named
      by the task is written, and `load_adapter` brings the head with it;
    - PEFT's kinds start from the input `theta_pre` (with `language:<code>` they too are trained on top of it); a PEFT
      directory is written, and `PeftModel.from_pretrained` puts the head into `AutoModelForTokenClassification` or
      its like.

    Those with a head share batches, at most `capacity` (None: all) at a time, as languages do: several tasks, seeds and
    source languages on one backbone, each with its own rows, head, gradient and optimizer, as if it were alone.
    `more_data`: rows of further languages in one stream with the others; a stack has each row's own language adapter
    below it (inputs `language:<code>` of all of them).

    The weights with the best metric on the validation split are kept. Training that was killed goes on from
    `call.checkpoint`. What is wrong with one task ends that task alone; its exception is its outcome.
    """
    keep_freed_memory()
    for call in (call for call in calls if call.spec.task.prompt):
        try:
            with panics_as_faults():
                outcome: Any = train_prompted(call, progress)
        except Exception as error:  # noqa: BLE001 - one adapter's failure is its outcome, the others go on
            outcome = error
        yield call.name, outcome
    banks: dict[AdapterConfig, list[TaskCall]] = {}
    for call in (call for call in calls if not call.spec.task.prompt):
        banks.setdefault(call.spec.adapter, []).append(call)
    for adapter, bank in banks.items():
        try:
            passes = TaskPasses(bank[0].spec.backbone, adapter)
        except InputError as error:
            yield from ((call.name, error) for call in bank)
            continue
        yield from Bank(passes, bank, progress, capacity or len(bank)).train()


class TaskPasses:
    """One frozen backbone, loaded once, that task adapters of one configuration go through."""

    def __init__(self, backbone: BackboneRef, adapter: AdapterConfig) -> None:
        """Load the backbone as the adapters need it. Raises InputError when it cannot be used."""
        self._model: Backbone | LanguageModel
        if isinstance(adapter, BottleneckConfig):
            self._model = load_backbone(backbone)
            self._encoder = encoder_of(self._model)
        else:
            self._model = load_language_model(backbone)

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""
        return self._model.device

    @property
    def shape(self) -> ModelShape:
        """What arithmetic it needs; a task's head is too small to count."""
        return replace(model_shape(self._model.model, causal=False), head=0)

    def start(self, call: TaskCall) -> TaskTrainer:
        """Read a task's data. Raises InputError for what the user can mend."""
        check_length(call.spec.training.max_length, self._model, "training.max_length")
        return TaskTrainer(call, self._headed(call))

    def losses(
        self, trainers: Sequence[TaskTrainer], groups: Sequence[list[Example]]
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """See `jobs.banks.member.Passes`. The mean over all labels is what each kind of task's loss is."""
        vectors = [trainer.learner.vector.clone().requires_grad_() for trainer in trainers]
        means = [0.0 if group else math.nan for group in groups]
        gradients = [torch.zeros_like(vector) for vector in vectors]
        for part in parts_of(self._lanes(trainers, groups, vectors), TOKENS[self.device.type]):
            own = [lane.share * loss for lane, loss in zip(part, self._losses(part), strict=True)]
            places = sorted({lane.place for lane in part})
            found = torch.autograd.grad(torch.stack(own).sum(), [vectors[place] for place in places])
            for place, gradient in zip(places, found, strict=True):
                gradients[place] += gradient
            for lane, loss in zip(part, own, strict=True):
                means[lane.place] += loss.item()
        return torch.tensor(means, dtype=torch.float64), gradients

    def held_out_values(self, trainers: Sequence[TaskTrainer]) -> list[float]:
        """Each task's metric on its held-out examples."""
        return [trainer.held_out_value() for trainer in trainers]

    def _headed(self, call: TaskCall) -> HeadedEncoder:
        if isinstance(self._model, Backbone):
            return StackedEncoder(call, self._model, self._encoder)
        return InjectedEncoder(call, self._model)

    @staticmethod
    def _lanes(
        trainers: Sequence[TaskTrainer], groups: Sequence[list[Example]], vectors: Sequence[Tensor]
    ) -> list[TaskLane]:
        lanes = []
        for place, (trainer, batch, vector) in enumerate(zip(trainers, groups, vectors, strict=True)):
            tensors, labels = trainer.layout.split(vector[None]), max(1, sum(len(example.labels) for example in batch))
            for group, examples in trainer.lanes(batch).items() if batch else ():
                share = sum(len(example.labels) for example in examples) / labels
                lanes.append(TaskLane(place, trainer, Lane(trainer.encoder, tensors, group), examples, share))
        return lanes

    def _losses(self, part: Sequence[TaskLane]) -> Iterator[Tensor]:
        """The mean loss of each lane, by one pass of all."""
        batch = collate([lane.examples for lane in part], self._model.tokenizer.pad_token_id, self.device)
        outputs = part[0].trainer.encoder.together([lane.own for lane in part], batch.rows)
        heights = [len(lane.examples) for lane in part]
        batches = batch.split(heights, [sum(len(one.labels) for one in lane.examples) for lane in part])
        for lane, found, alone in zip(part, outputs, batches, strict=True):
            yield lane.trainer.task.loss(found.float(), alone)


class TaskLane(NamedTuple):
    """Rows of the trainer at `place` that one adapter is below, with the `share` of its batch's labels."""

    place: int
    trainer: TaskTrainer
    own: Lane
    examples: list[Example]
    share: float

    @property
    def tokens(self) -> int:
        """Of the lane alone, padded."""
        return len(self.examples) * max(len(example.ids) for example in self.examples)


def parts_of(lanes: Sequence[TaskLane], tokens: int) -> Iterator[list[TaskLane]]:
    """Lanes that are alike, as many at a time as have `tokens` tokens or less when all are as large as the largest."""
    kinds: dict[Any, list[TaskLane]] = {}
    for lane in lanes:
        kinds.setdefault(lane.own.encoder.alike(lane.own.group), []).append(lane)
    for alike in kinds.values():
        part: list[TaskLane] = []
        for lane in alike:
            if part and (len(part) + 1) * max(one.tokens for one in [*part, lane]) > tokens:
                yield part
                part = []
            part.append(lane)
        yield part
