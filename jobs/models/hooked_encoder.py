"""Any encoder of transformers with bottleneck adapters: its own modules pass the rows, hooks add each group's adapter.

What it computes is what `adapters` computes with the same adapters active, in evaluation mode. Slower than the passes
that are written out (`jobs.models.encoder`): the last layer is computed at all positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from jobs.errors import Fault, InputError
from jobs.models.architectures import ARCHITECTURES, WRITTEN_OUT
from jobs.models.encoder import FrozenEncoder, chosen, normed
from jobs.models.frozen_linear import freeze_linear
from jobs.models.madx import Activation, BankWeights, Coupling, TwoLayers
from jobs.models.madx_backbone import Backbone
from jobs.models.rows import Rows

_Bottlenecks = Sequence[tuple[TwoLayers, Activation]]


class HookedEncoder:
    """The backbone's own modules, and where adapters act between them."""

    def __init__(self, backbone: Backbone) -> None:
        """The backbone's linear modules compute by `frozen_linear` from now on."""
        self.base, architecture = backbone.model.base_model, backbone.architecture
        self.layers = list(self.base.get_submodule(architecture.layers))
        self.copies: tuple[Tensor, ...] = ()
        self.head = backbone.head
        self.device = backbone.device
        self._norm, self._mlp = architecture.norm, architecture.mlp
        freeze_linear(backbone.model)

    def hidden_states(self, rows: Rows, stack: Sequence[BankWeights]) -> Tensor:
        """As `jobs.models.encoder.FrozenEncoder`. Rows have no dropout: see `refuse_dropout`."""
        assert rows.dropout is None, "refused where training starts"
        groups = rows.positions.shape[0]
        with ExitStack() as hooks:
            for handle in self._hooks(stack, groups):
                hooks.callback(handle.remove)
            states = last_states(self.base, rows)
        return chosen(states.reshape(groups, -1, states.shape[-1]), rows.positions)

    def _hooks(self, stack: Sequence[BankWeights], groups: int) -> Iterator[RemovableHandle]:
        if (coupling := stack[0].coupling) is not None:
            mapped = partial(_after_embeddings, coupling, stack[0].activation, groups)
            yield self.base.embeddings.register_forward_hook(mapped)
        for index, layer in enumerate(self.layers):
            own = [(one.layers[index], one.activation) for one in stack if index in one.layers]
            if own and self._norm:
                norm = layer.get_submodule(self._norm)
                yield norm.register_forward_pre_hook(partial(_before_norm, own, groups))
            elif own:
                yield layer.get_submodule(self._mlp).register_forward_hook(partial(_after_mlp, own, groups))


def _after_embeddings(
    coupling: Coupling, activation: Activation, groups: int, _: nn.Module, given: object, embedded: Tensor
) -> Tensor:
    return coupling.forward(embedded.reshape(groups, -1, embedded.shape[-1]), activation).reshape(embedded.shape)


def _before_norm(own: _Bottlenecks, groups: int, norm: nn.Module, given: tuple[Tensor]) -> Tensor:
    """ "Pfeiffer": s = FFN(x) + x, then s + A(LN(s)) for each adapter in turn, then the layer's own LN."""
    (total,) = given
    for bottleneck, activation in own:
        total = total + _grouped(bottleneck, activation, groups, normed(total, norm))
    return total


def _after_mlp(own: _Bottlenecks, groups: int, _: nn.Module, given: tuple[Tensor], out: Tensor) -> Tensor:
    """Layers that are normalized before their parts, as `adapters` has it: m = FFN(LN(x)), then m + A(m + LN(x))."""
    (normalized,) = given
    for bottleneck, activation in own:
        out = out + _grouped(bottleneck, activation, groups, out + normalized)
    return out


def _grouped(bottleneck: TwoLayers, activation: Activation, groups: int, x: Tensor) -> Tensor:
    return bottleneck(x.reshape(groups, -1, x.shape[-1]), activation).reshape(x.shape)


def last_states(base: Any, rows: Rows) -> Tensor:
    """The last hidden states [R, T, hidden] of an encoder of transformers, under whatever adapters act in it."""
    # XLM-R, RoBERTa and others know one type of text alone, or none.
    several = rows.types is not None and getattr(base.config, "type_vocab_size", 0) > 1
    states: Tensor = base(
        input_ids=rows.ids,
        attention_mask=None if rows.keep is None else rows.keep.long(),
        **({"token_type_ids": rows.types} if several else {}),
    ).last_hidden_state
    return states


def encoder_of(backbone: Backbone) -> FrozenEncoder | HookedEncoder:
    """The backbone's fastest pass."""
    written_out = backbone.model.config.model_type in WRITTEN_OUT
    return FrozenEncoder(backbone) if written_out else HookedEncoder(backbone)


def refuse_dropout(backbone: Backbone, rate: float, where: str) -> None:
    """Raise InputError unless `rate` is 0 or the backbone's own dropout is drawn by rows."""
    if rate and backbone.model.config.model_type not in WRITTEN_OUT:
        what = f"backbone_dropout is for {', '.join(ARCHITECTURES[one].title for one in WRITTEN_OUT)}"
        raise InputError(Fault(what, where, f"{rate} in {backbone.architecture.title}", "leave it out"))
