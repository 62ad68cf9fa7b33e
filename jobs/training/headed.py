"""A frozen encoder that carries a task's adapter and head while they are trained: MAD-X's stack of bottlenecks.

Adapters of PEFT's kinds are carried by `jobs.training.headed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from jobs.adapters.adapter import Adapter, Head, named
from jobs.adapters.adapterhub import read_adapter
from jobs.adapters.peft_heads import peft_settings, saved_head
from jobs.models.encoder import FrozenEncoder, activation_named
from jobs.models.language_model import LanguageModel
from jobs.models.madx import BankWeights, bank_weights, check_fits, check_supported
from jobs.models.madx_backbone import Backbone
from jobs.models.peft.encoder import check_inside, hidden_states, require_encoder
from jobs.models.peft.model import InjectedModel, applied_adapters
from jobs.models.row_dropout import refuse_backbone_dropout
from jobs.models.rows import Rows
from jobs.spec import BottleneckConfig, JobCall, TaskAdapterSpec, adapter_dropout
from jobs.tasks.heads import layers_of, new_head
from jobs.tasks.table import task_of
from jobs.tokens.evaluation_sets import Reader
from jobs.training.initial import initial_bottleneck, language_below, theta_pre_of


class InjectedEncoder:
    """A task's adapter of PEFT's kinds and its head; below them, with MAD-X, a frozen language adapter."""

    def __init__(self, call: JobCall[TaskAdapterSpec], spec: TaskAdapterSpec, model: LanguageModel) -> None:
        """Inputs `theta_pre` and, for MAD-X, `language:<code>`.

        Raises InputError for a model that is no encoder, and for adapters that do not fit it or reach beyond it.
        """
        require_encoder(model)
        refuse_backbone_dropout(spec.training.backbone_dropout, call.name)
        self._adapter = theta_pre_of(call)
        self._injected = InjectedModel(model, self._adapter)
        self._below = language_below(call, spec)
        check_inside(model, (self._adapter, *self._below))
        self._head = new_head(model, task_of(spec.task).head(spec.task), spec.seed)
        saved_head(self._head)  # a fault before training, where PEFT's directory cannot hold it
        self._language_model, self._name = model, spec.task.name
        self.model: Reader = model
        self.initial: Mapping[str, Tensor] = {**self._adapter.tensors, **self._head.tensors}
        self.dropout = adapter_dropout(spec.adapter)
        on_top = {"on_top_of": spec.language} if self._below else {}
        self.details: Mapping[str, Any] = {"backbone_dropout": 0.0, **on_top}

    def outputs(self, rows: Rows, tensors: Mapping[str, Tensor]) -> Tensor:
        """See `jobs.training.headed.HeadedEncoder`."""
        head = layers_of(self._head.config["config"], {name: tensors[name][0] for name in self._head.tensors})
        with applied_adapters(self._language_model, self._below), self._injected.acting(tensors, rows.dropout):
            return head(hidden_states(self._language_model, rows)[0].float())

    def trained(self, tensors: Mapping[str, Tensor]) -> Adapter:
        """A PEFT adapter; its head goes where `AutoModelForSequenceClassification` and its like have theirs."""
        head = saved_head(Head(self._head.config, {name: tensors[name] for name in self._head.tensors}))
        own = {name: tensors[name] for name in self._adapter.tensors}
        config = {**self._adapter.config, **peft_settings(head)}
        return replace(self._adapter, name=self._name, tensors=own, head=head, config=config, path="")


class HeadedEncoder(Protocol):
    """What `jobs.training.task_adapter` trains in."""

    @property
    def model(self) -> Reader:
        """The frozen model."""

    @property
    def initial(self) -> Mapping[str, Tensor]:
        """Everything that is trained, by name, as it is before: the adapter's tensors and the head's."""

    @property
    def dropout(self) -> float:
        """The share of elements that rows drop in training."""

    @property
    def details(self) -> Mapping[str, Any]:
        """What the record says of the training beside its data."""

    def outputs(self, rows: Rows, tensors: Mapping[str, Tensor]) -> Tensor:
        """The head's outputs [K, width] at the wanted places of one group, under `tensors`, each [1, *shape]."""

    def trained(self, tensors: Mapping[str, Tensor]) -> Adapter:
        """The adapter with its head, named by the task, from tensors of the names of `initial`."""


class StackedEncoder:
    """A bottleneck adapter and its head on top of the frozen language adapter of the task's language."""

    def __init__(self, call: JobCall[TaskAdapterSpec], spec: TaskAdapterSpec, backbone: Backbone) -> None:
        """Input `language:<code>`. Raises InputError for a language adapter that does not fit the backbone."""
        language = read_adapter(call.inputs[f"language:{spec.language}"])
        assert isinstance(spec.adapter, BottleneckConfig)
        self._task = initial_bottleneck(backbone, spec.adapter, spec.task.name)
        check_supported(language)
        check_supported(self._task)
        check_fits(language, backbone.model.config.hidden_size, backbone.model.config.num_hidden_layers)
        self._head = new_head(backbone, task_of(spec.task).head(spec.task), spec.seed)
        self._language = _frozen(language, backbone.device)
        self._encoder = FrozenEncoder(backbone)
        self.model: Reader = backbone
        self.initial: Mapping[str, Tensor] = {**self._task.tensors, **self._head.tensors}
        self.dropout = spec.training.backbone_dropout
        self.details: Mapping[str, Any] = {"backbone_dropout": self.dropout, "language_adapter": language.name}

    def outputs(self, rows: Rows, tensors: Mapping[str, Tensor]) -> Tensor:
        """See `HeadedEncoder`."""
        own = self._head.tensors
        adapter = {name: tensor for name, tensor in tensors.items() if name not in own}
        stack = (self._language, bank_weights(adapter, _activation(self._task)))
        head = layers_of(self._head.config["config"], {name: tensors[name][0] for name in own})
        device = self._encoder.device.type
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            return head(self._encoder.hidden_states(rows, stack)[0])

    def trained(self, tensors: Mapping[str, Tensor]) -> Adapter:
        """An AdapterHub adapter with a flexible head."""
        head = Head(self._head.config, {name: tensors[name] for name in self._head.tensors})
        return named(self._task, self._task.name, {name: tensors[name] for name in self._task.tensors}, head)


def _frozen(adapter: Adapter, device: torch.device) -> BankWeights:
    stacked = {name: tensor[None].float().to(device) for name, tensor in adapter.tensors.items()}
    return bank_weights(stacked, _activation(adapter))


def _activation(adapter: Adapter) -> Any:
    return activation_named(str(adapter.settings["non_linearity"]))
