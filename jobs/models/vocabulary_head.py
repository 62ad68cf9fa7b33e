"""The output embeddings of a language model: hidden states before them, and the loss after them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from jobs.errors import Fault, InputError
from jobs.models.frozen_linear import frozen_cross_entropy


@dataclass(slots=True)
class Caught:
    """Filled by `VocabularyHead.caught`: what the output embeddings were given, [rows, T, n]."""

    hidden: Tensor = field(default_factory=lambda: torch.empty(0))


@dataclass(frozen=True, slots=True)
class VocabularyHead:
    """Output embeddings, and what the model does to their logits: times `scale`, bounded by `cap` (None: not)."""

    module: nn.Linear
    scale: float = 1.0
    cap: float | None = None

    @contextmanager
    def caught(self) -> Iterator[Caught]:
        """While it lasts, a pass of the model computes no logits; it leaves the head's input in what is yielded."""
        caught = Caught()

        def keep(hidden: Tensor) -> Tensor:
            caught.hidden = hidden
            return hidden[..., :1]

        usual = self.module.forward
        self.module.forward = keep  # type: ignore[method-assign, assignment]
        try:
            yield caught
        finally:
            self.module.forward = usual  # type: ignore[method-assign]

    def losses(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy in nats [M] of `labels` [M] under `hidden` [M, n]; a few rows of logits exist at a time.

        Without a gradient, so wherever something is scored, logits are products in float32: in bfloat16 those near 20
        stand 0.125 apart, and one choice in eight ties with another.
        """
        exact = hidden if hidden.requires_grad else hidden.float()
        bias = None if self.module.bias is None else self.module.bias.to(exact.dtype) * self.scale
        scaled = exact if self.scale == 1.0 else exact * self.scale
        return frozen_cross_entropy(scaled, self.module.weight, bias, labels, self.cap)

    def logits(self, hidden: Tensor) -> Tensor:
        """What the model would compute from the head's input."""
        raw = self.module(hidden) * self.scale
        return raw if self.cap is None else self.cap * torch.tanh(raw / self.cap)


@torch.no_grad()
def vocabulary_head(model: Any, encoder_decoder: bool, where: str) -> VocabularyHead:
    """The head of `model`, tried on three tokens. Raises InputError when the model makes its logits otherwise."""
    module = model.get_output_embeddings()
    if not isinstance(module, nn.Linear):
        got = type(module).__name__
        raise InputError(Fault("the model's output embeddings are no linear layer", where, got, "use another backbone"))
    config = model.config.get_text_config(decoder=True)
    head = VocabularyHead(module, _scale(model, config), getattr(config, "final_logit_softcapping", None))
    ids = torch.arange(3, device=model.device)[None]
    arguments = {"input_ids": ids, **({"decoder_input_ids": ids} if encoder_decoder else {})}
    with head.caught() as caught:
        model(**arguments)
    found, expected = head.logits(caught.hidden).float(), model(**arguments).logits.float()
    if not torch.allclose(found, expected, rtol=1e-2, atol=1e-2 * float(expected.abs().max())):
        todo = "use another backbone"
        raise InputError(
            Fault("this architecture makes its logits in an unknown way", where, type(model).__name__, todo)
        )
    return head


def _scale(model: Any, config: Any) -> float:
    """Cohere multiplies the logits, Granite divides them."""
    multiplied = getattr(model, "logit_scale", None)
    return float(multiplied) if isinstance(multiplied, float | int) else 1.0 / getattr(config, "logits_scaling", 1.0)
