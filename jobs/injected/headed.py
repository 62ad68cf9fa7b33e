"""A frozen encoder with adapters of PEFT's kinds below a task's head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from jobs.adapters.heads import layers_of, new_head
from jobs.adapters.kinds import Adapter, Head
from jobs.adapters.peft_heads import peft_settings, saved_head
from jobs.dropout import refuse_backbone_dropout
from jobs.encoder import Rows
from jobs.errors import Fault, InputError
from jobs.evaluation_sets import Reader
from jobs.injected.inputs import language_below, theta_pre_of
from jobs.injected.model import InjectedModel, applied_adapters
from jobs.language_model import LanguageModel
from jobs.spec import JobCall, TaskAdapterSpec, adapter_dropout
from jobs.tasks.table import task_of


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


def hidden_states(model: LanguageModel, rows: Rows) -> Tensor:
    """The encoder's last hidden states [G, K, hidden] at the wanted places, under whatever adapters are applied."""
    several = getattr(model.model.config, "type_vocab_size", 0) > 1  # XLM-R and RoBERTa know one type of text alone
    hidden: Tensor = model.model.base_model(
        input_ids=rows.ids,
        attention_mask=None if rows.keep is None else rows.keep.long(),
        token_type_ids=rows.types if several else None,
    ).last_hidden_state
    own = hidden.reshape(rows.places.shape[0], -1, hidden.shape[-1])
    return own.gather(1, rows.places[..., None].expand(-1, -1, own.shape[-1]))


def require_encoder(model: LanguageModel) -> None:
    """Raise InputError for a model that has no place for a head."""
    if model.family != "encoder":
        todo = "use XLM-R, RoBERTa or BERT, or give the task a `prompt`"
        raise InputError(Fault("a head sits on an encoder", model.ref.name, model.family, todo))


def check_inside(model: LanguageModel, adapters: Sequence[Adapter]) -> None:
    """Raise InputError for an adapter that acts on the masked-LM head, which is not there beside a task's."""
    inside = f"base_model.model.{model.model.base_model_prefix}."
    for adapter in adapters:
        if outside := sorted(name for name in adapter.tensors if not name.startswith(inside)):
            got = outside[0].removeprefix("base_model.model.")
            todo = "name target_modules that the encoder alone has, such as output.dense for dense"
            raise InputError(Fault("the adapter reaches beyond the encoder", adapter.label, got, todo))
