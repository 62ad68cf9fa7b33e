"""Whether two forms of an adapter are one function: logits of a decoder under each, on a few sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jobs.adapters.adapter import Adapter
from jobs.models.language_model import LanguageModel, load_language_model
from jobs.models.peft.model import applied_adapters
from jobs.spec import BackboneRef

SENTENCES = (
    "The old bridge over the river was closed for two years.",
    "Mito inafurika baada ya mvua kubwa, na watu wengi wamehama.",
    "Вчера в городе открылся новый музей, и вход был свободным.",
)


@dataclass(frozen=True, slots=True)
class LogitChange:
    """`difference`: the largest between logits of the two forms; `moved`: what the first moves the backbone's by."""

    difference: float
    moved: float


def compare_logits(ref: BackboneRef, before: Sequence[Adapter], after: Sequence[Adapter]) -> LogitChange:
    """Load the decoder of `ref` in float32 and compare its logits on `SENTENCES` under either set of adapters.

    Raises InputError for a backbone that cannot be loaded or is no decoder, and adapters that do not fit it.
    """
    model = load_language_model(ref, precision=lambda device, encoder: "float32")
    bare, first, second = (_logits(model, adapters) for adapters in ((), before, after))
    return LogitChange(_largest(first, second), _largest(bare, first))


@torch.no_grad()
def _logits(model: LanguageModel, adapters: Sequence[Adapter]) -> list[Tensor]:
    """[tokens, vocabulary] for each sentence."""
    with applied_adapters(model, adapters):
        rows = [model.tokenizer(text, return_tensors="pt").input_ids.to(model.device) for text in SENTENCES]
        return [model.model(input_ids=ids, use_cache=False).logits[0] for ids in rows]


def _largest(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))
