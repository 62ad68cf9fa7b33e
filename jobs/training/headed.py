"""A frozen encoder that carries tasks' adapters and heads while they are trained: MAD-X's stack, or PEFT's kinds.

Several tasks may share a pass, each on rows of its own (`Lane`): what is below them, their adapters and their heads are
their own, and the frozen weights are read once for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from jobs.adapters.adapter import Adapter, Head, named
from jobs.adapters.adapterhub import read_adapter
from jobs.adapters.loading_code import loaded_by_interface
from jobs.adapters.peft_heads import own_activation, peft_settings, saved_head
from jobs.models.encoder import MaskedLmEncoder, activation_named
from jobs.models.hooked_encoder import refuse_dropout
from jobs.models.language_model import LanguageModel
from jobs.models.madx import BankWeights, bank_weights, check_fits, check_supported, side_by_side
from jobs.models.madx_backbone import Backbone
from jobs.models.peft.encoder import check_inside, hidden_states, require_encoder
from jobs.models.peft.model import InjectedModel, applied_adapters
from jobs.models.row_dropout import Dropout, refuse_backbone_dropout
from jobs.models.rows import Rows
from jobs.spec import BottleneckConfig, JobCall, TaskAdapterSpec, adapter_dropout
from jobs.tasks.heads import HeadLayers, HeadShape, layers_of, new_head
from jobs.tasks.table import task_of
from jobs.training.initial import initial_bottleneck, language_below, theta_pre_of


class HeadedEncoder(ABC):
    """What `jobs.training.task_adapter` trains in: a frozen model with a task's `adapter` and its `head`.

    `initial`: everything that is trained, by name, as it is before: the adapter's tensors and the head's. `dropout`:
    the share of elements that rows drop in training. `details`: what the record says of the training beside its data.
    """

    def __init__(
        self, model: Backbone | LanguageModel, spec: TaskAdapterSpec, adapter: Adapter, dropout: float
    ) -> None:
        """Raises InputError for a task that no head is for."""
        self.model, self.adapter, self.dropout = model, adapter, dropout
        self.head = new_head(model, self._shape(task_of(spec.task).head(spec.task)), spec.seed)
        self.initial: Mapping[str, Tensor] = {**adapter.tensors, **self.head.tensors}
        self.details: Mapping[str, Any] = {}

    def _shape(self, shape: HeadShape) -> HeadShape:
        """The task's head as it is to be made."""
        return shape

    def group(self, source: int) -> int:
        """Which rows may share a pass with those of this source, a place among the spec's data: all of them."""
        return 0

    def outputs(self, rows: Rows, tensors: Mapping[str, Tensor], group: int = 0) -> Tensor:
        """The head's outputs [K, width] at the wanted positions of one group, under `tensors`, each [1, *shape]."""
        (own,) = self.together([Lane(self, tensors, group)], rows)
        return own

    @abstractmethod
    def alike(self, group: int) -> Hashable:
        """Lanes of this group may share a pass with those for which it is equal, on the same model."""

    @abstractmethod
    def together(self, lanes: Sequence[Lane], rows: Rows) -> list[Tensor]:
        """The outputs of every lane's head; lanes are alike, and `rows` has a group for each, in their order."""

    @abstractmethod
    def trained(self, tensors: Mapping[str, Tensor]) -> Adapter:
        """The adapter with its head, named by the task, from tensors of the names of `initial`."""

    def _split(self, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Head]:
        """The adapter's of `tensors`, and the head with its own."""
        own = {name: tensors[name] for name in self.adapter.tensors}
        return own, Head(self.head.config, {name: tensors[name] for name in self.head.tensors})

    def layers(self, tensors: Mapping[str, Tensor]) -> HeadLayers:
        """The head that is made of its own of `tensors`, each [1, *shape]."""
        return layers_of(self.head.config["config"], {name: tensors[name][0] for name in self.head.tensors})


class Lane(NamedTuple):
    """One task in a pass: its encoder, what is trained, each [1, *shape], and which group of its rows passes."""

    encoder: HeadedEncoder
    tensors: Mapping[str, Tensor]
    group: int


class InjectedEncoder(HeadedEncoder):
    """A task's adapter of PEFT's kinds and its head; below them, with MAD-X, a frozen language adapter."""

    def __init__(self, call: JobCall[TaskAdapterSpec], model: LanguageModel) -> None:
        """Inputs `theta_pre` and, for MAD-X, `language:<code>`.

        Raises InputError for a model that is no encoder, and for adapters that do not fit it or reach beyond it.
        """
        spec = call.spec
        require_encoder(model)
        refuse_backbone_dropout(spec.training.backbone_dropout, call.name)
        adapter = theta_pre_of(call)
        self._injected = InjectedModel(model, adapter)
        self._below = language_below(call, spec)
        check_inside(model, (adapter, *self._below))
        super().__init__(model, spec, adapter, adapter_dropout(spec.adapter))
        saved_head(self.head)  # a fault before training, where PEFT's directory cannot hold it
        self._language_model, self._name = model, spec.task.name
        on_top = {"on_top_of": spec.language} if self._below else {}
        self.details = {"backbone_dropout": 0.0, **on_top}

    def _shape(self, shape: HeadShape) -> HeadShape:
        """With the activation of transformers' own model, which is to load it."""
        activation = own_activation(self.model.model.config, shape.type)
        if activation is None or shape.layers == 1:
            return shape
        return replace(shape, config={**shape.config, "activation_function": activation})

    def alike(self, group: int) -> Hashable:
        """Adapters of one shape and settings below them."""
        return tuple((repr(sorted(one.settings.items())), *_shapes(one.tensors)) for one in self._below)

    def together(self, lanes: Sequence[Lane], rows: Rows) -> list[Tensor]:
        """See `HeadedEncoder`."""
        below = [lane.encoder._below for lane in lanes if isinstance(lane.encoder, InjectedEncoder)]
        own = {name: torch.cat([lane.tensors[name] for lane in lanes]) for name in self.adapter.tensors}
        with applied_adapters(self._language_model, *below), self._injected.acting(own, rows.dropout):
            hidden = hidden_states(self._language_model, rows).float()
        return _heads(lanes, hidden, rows, None)

    def trained(self, tensors: Mapping[str, Tensor]) -> Adapter:
        """A PEFT adapter; its head goes where `AutoModelForSequenceClassification` and its like have theirs."""
        own, flexible = self._split(tensors)
        head = saved_head(flexible)
        config = {**self.adapter.config, **peft_settings(head)}
        return replace(self.adapter, name=self._name, tensors=own, head=head, config=config, path="")


class StackedEncoder(HeadedEncoder):
    """A bottleneck adapter and its head on top of the frozen language adapter of each row's language."""

    def __init__(self, call: JobCall[TaskAdapterSpec], backbone: Backbone, encoder: MaskedLmEncoder) -> None:
        """`encoder`: of the backbone. Inputs `language:<code>`. Raises InputError for one that does not fit it."""
        spec = call.spec
        refuse_dropout(backbone, spec.training.backbone_dropout, call.name)
        codes = [one.language for one in (spec.data, *spec.more_data)] if spec.more_data else [spec.language]
        languages = [read_adapter(call.inputs[f"language:{code}"]) for code in codes]
        assert isinstance(spec.adapter, BottleneckConfig)
        adapter = initial_bottleneck(backbone, spec.adapter, spec.task.name)
        for one in (*languages, adapter):
            check_supported(one)
            check_fits(one, backbone.model.config.hidden_size, backbone.model.config.num_hidden_layers)
        super().__init__(backbone, spec, adapter, spec.training.backbone_dropout)
        self._languages = [_frozen(one, backbone.device) for one in languages]
        self._activations = [str(one.settings["non_linearity"]) for one in languages]
        self._encoder = encoder
        self.details = {
            "backbone_dropout": self.dropout,
            "language_adapter": ", ".join(one.name for one in languages),
            **loaded_by_interface(adapter.config),
        }

    def group(self, source: int) -> int:
        """Rows of one language alone: they have its adapter below."""
        return source

    def alike(self, group: int) -> Hashable:
        """Language adapters of one shape and activation below them."""
        below = self._languages[group]
        parts = [*below.layers.values(), *((below.coupling.f, below.coupling.g) if below.coupling else ())]
        return self._activations[group], tuple(below.layers), tuple(tuple(one.shape) for part in parts for one in part)

    def together(self, lanes: Sequence[Lane], rows: Rows) -> list[Tensor]:
        """See `HeadedEncoder`."""
        below = [lane.encoder._languages[lane.group] for lane in lanes if isinstance(lane.encoder, StackedEncoder)]
        own = {name: torch.cat([lane.tensors[name] for lane in lanes]) for name in self.adapter.tensors}
        stack = (side_by_side(below), bank_weights(own, _activation(self.adapter)))
        device = self._encoder.device.type
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            return _heads(lanes, self._encoder.hidden_states(rows, stack), rows, _drop(rows))

    def trained(self, tensors: Mapping[str, Tensor]) -> Adapter:
        """An AdapterHub adapter with a flexible head."""
        return named(self.adapter, self.adapter.name, *self._split(tensors))


def _heads(lanes: Sequence[Lane], hidden: Tensor, rows: Rows, drop: Dropout | None) -> list[Tensor]:
    """Each lane's head on its part of hidden [G, K, hidden], at its wanted positions."""
    counts = rows.valid.sum(1).tolist()
    made = []
    for number, (lane, count) in enumerate(zip(lanes, counts, strict=True)):
        own = drop and Dropout(drop.keys[number, :count], drop.rates[number, :count])
        made.append(lane.encoder.layers(lane.tensors)(hidden[number, :count], own))
    return made


def _drop(rows: Rows) -> Dropout | None:
    """The masks of the heads at the wanted positions [G, K]."""
    if rows.dropout is None:
        return None
    return rows.dropout.positions(rows.ids.shape[1]).reshape(len(rows.positions), -1).at(rows.positions)


def _shapes(tensors: Mapping[str, Tensor]) -> tuple[Hashable, ...]:
    return tuple((name, tuple(tensor.shape)) for name, tensor in sorted(tensors.items()))


def _frozen(adapter: Adapter, device: torch.device) -> BankWeights:
    stacked = {name: tensor[None].float().to(device) for name, tensor in adapter.tensors.items()}
    return bank_weights(stacked, _activation(adapter))


def _activation(adapter: Adapter) -> Any:
    return activation_named(str(adapter.settings["non_linearity"]))
