"""An encoder under PEFT's kinds of adapters, below a task's head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from jobs.adapters.adapter import Adapter
from jobs.errors import Fault, InputError
from jobs.models.architectures import SUPPORTED
from jobs.models.encoder import chosen
from jobs.models.hooked_encoder import last_states
from jobs.models.language_model import LanguageModel
from jobs.models.rows import Rows


def hidden_states(model: LanguageModel, rows: Rows) -> Tensor:
    """The encoder's last hidden states [G, K, hidden] at the wanted positions, under whatever adapters are applied."""
    hidden = last_states(model.model.base_model, rows)
    return chosen(hidden.reshape(rows.positions.shape[0], -1, hidden.shape[-1]), rows.positions)


def require_encoder(model: LanguageModel) -> None:
    """Raise InputError for a model that has no place for a head."""
    if model.family != "encoder":
        todo = f"use {SUPPORTED}, or give the task a `prompt`"
        raise InputError(Fault("a head sits on an encoder", model.ref.name, model.family, todo))


def check_inside(model: LanguageModel, adapters: Sequence[Adapter]) -> None:
    """Raise InputError for an adapter that acts on the masked-LM head, which is not there beside a task's."""
    inside = f"base_model.model.{model.model.base_model_prefix}."
    for adapter in adapters:
        if outside := sorted(name for name in adapter.tensors if not name.startswith(inside)):
            got = outside[0].removeprefix("base_model.model.")
            todo = "name target_modules that the encoder alone has, such as output.dense for dense"
            raise InputError(Fault("the adapter reaches beyond the encoder", adapter.label, got, todo))
