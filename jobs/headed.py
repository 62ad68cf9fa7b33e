"""A frozen encoder that carries a task's adapter and head while they are trained: MAD-X's stack of bottlenecks.

Adapters of PEFT's kinds are carried by `jobs.injected.headed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from jobs.adapters.adapter import Adapter, Head, named
from jobs.adapters.adapterhub import read_adapter
from jobs.adapters.bottleneck import initial_bottleneck
from jobs.adapters.heads import layers_of, new_head
from jobs.models.encoder import FrozenEncoder, activation_named
from jobs.models.madx import BankWeights, bank_weights, check_fits, check_supported
from jobs.models.madx_backbone import Backbone
from jobs.models.rows import Rows
from jobs.spec import BottleneckConfig, JobCall, TaskAdapterSpec
from jobs.tasks.table import task_of
from jobs.tokens.evaluation_sets import Reader


class HeadedEncoder(Protocol):
    """What `jobs.train_task` trains in."""

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

    def __init__(self, call: JobCall, spec: TaskAdapterSpec, backbone: Backbone) -> None:
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
