"""Passes of a bank's languages through the frozen backbone: losses with gradients, and held-out losses."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from jobs.backbone import Backbone
from jobs.bank import BankWeights, bank_weights
from jobs.batches import Example, collate
from jobs.encoder import FrozenEncoder, activation_named
from jobs.language_learner import LanguageLearner
from jobs.masked_loss import MaskedRows, group_sums, token_losses


class BankPass:
    """One frozen encoder that languages of equal shape go through together."""

    def __init__(self, backbone: Backbone) -> None:
        """The backbone has a masked-LM head."""
        self._encoder = FrozenEncoder(backbone)
        self._pad: int = backbone.tokenizer.pad_token_id

    def losses(
        self, languages: Sequence[LanguageLearner], groups: Sequence[list[Example]]
    ) -> tuple[list[float], Tensor]:
        """Mean loss of each language over its masked tokens, and the gradients [languages, size] of these means."""
        vectors = torch.stack([language.learner.vector for language in languages]).requires_grad_()
        batch = collate(groups, self._pad, self._encoder.device)
        means = self._sums(languages, vectors, batch) / batch.rows.valid.sum(1)
        (gradients,) = torch.autograd.grad(means.sum(), vectors)
        return means.tolist(), gradients

    @torch.no_grad()
    def held_out_losses(self, languages: Sequence[LanguageLearner]) -> list[float]:
        """Mean loss of each language over all masked tokens of its held-out blocks."""
        sums, counts = [0.0] * len(languages), [0] * len(languages)
        # As many rows as in training, so that evaluation needs no more memory.
        rows = languages[0].spec.training.batch_size
        for start in range(0, max(len(language.held_out) for language in languages), rows):
            present = [place for place, language in enumerate(languages) if start < len(language.held_out)]
            chosen = [languages[place] for place in present]
            groups = [language.held_out[start : start + rows] for language in chosen]
            batch = collate(groups, self._pad, self._encoder.device)
            vectors = torch.stack([language.learner.vector for language in chosen])
            totals = self._sums(chosen, vectors, batch).tolist()
            for place, total, count in zip(present, totals, batch.rows.valid.sum(1).tolist(), strict=True):
                sums[place] += total
                counts[place] += count
        return [total / count for total, count in zip(sums, counts, strict=True)]

    def _sums(self, languages: Sequence[LanguageLearner], vectors: Tensor, batch: MaskedRows) -> Tensor:
        """Summed loss of each language, [languages]."""
        with self._precision():
            losses = token_losses(self._encoder, batch, self._weights(languages[0], vectors))
        return group_sums(losses, batch.rows.valid)

    def _weights(self, any_language: LanguageLearner, vectors: Tensor) -> BankWeights:
        activation = activation_named(str(any_language.theta_pre.settings["non_linearity"]))
        return bank_weights(any_language.layout.split(vectors), activation)

    def _precision(self) -> AbstractContextManager[object]:
        """bfloat16 products on a GPU, float32 on a CPU."""
        return torch.autocast("cuda", torch.bfloat16, enabled=self._encoder.device.type == "cuda")
