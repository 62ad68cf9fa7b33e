"""A frozen encoder with adapters of PEFT's kinds below a task's head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from jobs.adapters.adapter import Adapter, Head
from jobs.adapters.heads import layers_of, new_head
from jobs.adapters.peft_heads import peft_settings, saved_head
from jobs.injected.inputs import language_below, theta_pre_of
from jobs.models.language_model import LanguageModel
from jobs.models.peft.encoder import check_inside, hidden_states, require_encoder
from jobs.models.peft.model import InjectedModel, applied_adapters
from jobs.models.row_dropout import refuse_backbone_dropout
from jobs.models.rows import Rows
from jobs.spec import JobCall, TaskAdapterSpec, adapter_dropout
from jobs.tasks.table import task_of
from jobs.tokens.evaluation_sets import Reader


class InjectedEncoder:
    """A task's adapter of PEFT's kinds and its head; below them, with MAD-X, a frozen language adapter."""

    def __init__(self, call: JobCall, spec: TaskAdapterSpec, model: LanguageModel) -> None:
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
        """See `jobs.headed.HeadedEncoder`."""
        head = layers_of(self._head.config["config"], {name: tensors[name][0] for name in self._head.tensors})
        with applied_adapters(self._language_model, self._below), self._injected.acting(tensors, rows.dropout):
            return head(hidden_states(self._language_model, rows)[0].float())

    def trained(self, tensors: Mapping[str, Tensor]) -> Adapter:
        """A PEFT adapter; its head goes where `AutoModelForSequenceClassification` and its like have theirs."""
        head = saved_head(Head(self._head.config, {name: tensors[name] for name in self._head.tensors}))
        own = {name: tensors[name] for name in self._adapter.tensors}
        config = {**self._adapter.config, **peft_settings(head)}
        return replace(self._adapter, name=self._name, tensors=own, head=head, config=config, path="")
