"""Passes of a bank's languages through the frozen backbone: losses with gradients, and held-out losses."""

from __future__ import annotations

import math
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
from jobs.team import Team


class BankPass:
    """One frozen encoder that languages of equal shape go through together."""

    def __init__(self, backbone: Backbone, team: Team) -> None:
        """The backbone has a masked-LM head. Every worker of `team` makes the same calls."""
        self._team = team
        self._encoder = FrozenEncoder(backbone)
        self._pad: int = backbone.tokenizer.pad_token_id

    def losses(self, languages: Sequence[LanguageLearner], groups: Sequence[list[Example]]) -> tuple[Tensor, Tensor]:
        """Mean loss of each language over its masked tokens, and the gradients [languages, size] of these means.

        `groups` are whole batches on every worker of the team. Each passes its share of every language's rows, and
        the parts of means and gradients, weighted by the batch's own count of masked tokens, add up to the whole's.
        The mean of an empty group is NaN.
        """
        vectors = torch.stack([language.learner.vector for language in languages])
        counts = [sum(len(row.places) for row in group) for group in groups]
        shares = [self._team.share(group) for group in groups]
        means = vectors.new_tensor([0.0 if group else math.nan for group in groups])
        mine = [place for place, share in enumerate(shares) if share]
        if not mine:
            return self._team_sums(means, torch.zeros_like(vectors))
        batch = collate([shares[place] for place in mine], self._pad, self._encoder.device)
        own = (vectors if len(mine) == len(languages) else vectors[mine]).requires_grad_()
        parts = self._sums([languages[place] for place in mine], own, batch) / own.new_tensor([counts[i] for i in mine])
        (gradients,) = torch.autograd.grad(parts.sum(), own)
        means[mine] += parts.detach()
        if len(mine) < len(languages):
            gradients = torch.zeros_like(vectors).index_copy_(0, torch.tensor(mine, device=own.device), gradients)
        return self._team_sums(means, gradients)

    def _team_sums(self, means: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Sums over the workers, by one message."""
        if self._team.size == 1:
            return means, gradients
        together = self._team.sum(torch.cat((means[:, None], gradients), 1))
        return together[:, 0], together[:, 1:]

    @torch.no_grad()
    def held_out_losses(self, languages: Sequence[LanguageLearner]) -> list[float]:
        """Mean loss of each language over all masked tokens of its held-out blocks, shared by the team."""
        totals = torch.zeros(len(languages), 2, dtype=torch.float64)
        held_out = [self._team.share(language.held_out) for language in languages]
        # As many rows as in training, so that evaluation needs no more memory.
        rows = languages[0].spec.training.batch_size
        for start in range(0, max(map(len, held_out)), rows):
            present = [place for place in range(len(languages)) if start < len(held_out[place])]
            chosen = [languages[place] for place in present]
            groups = [held_out[place][start : start + rows] for place in present]
            batch = collate(groups, self._pad, self._encoder.device)
            vectors = torch.stack([language.learner.vector for language in chosen])
            totals[present, 0] += self._sums(chosen, vectors, batch).double().cpu()
            totals[present, 1] += batch.rows.valid.sum(1).double().cpu()
        totals = self._team.sum(totals.to(self._encoder.device))
        means: list[float] = (totals[:, 0] / totals[:, 1]).tolist()
        return means

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
