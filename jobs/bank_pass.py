"""Passes of a bank's languages through the frozen backbone: losses with gradients, and held-out losses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from jobs.batches import Example
from jobs.encoder import Rows
from jobs.flops import ModelShape
from jobs.job import JobCall
from jobs.language_learner import LanguageLearner
from jobs.masked_loss import group_sums
from jobs.team import Team


class Batch(Protocol):
    """What a backbone is given: rows in groups, one group for each language."""

    @property
    def rows(self) -> Rows:
        """The rows and the places whose tokens are predicted."""


class Forward(Protocol):
    """One frozen backbone with adapters of one shape in it; see `jobs.forwards`."""

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""

    @property
    def shape(self) -> ModelShape:
        """What arithmetic it needs."""

    def weights(self) -> Iterable[Tensor]:
        """The backbone's frozen weights."""

    def start(self, call: JobCall) -> LanguageLearner:
        """Read a language's corpus. Raises InputError for what the user can mend."""

    def collate(self, groups: Sequence[Sequence[Example]]) -> Batch:
        """One batch of all groups, on the backbone's device."""

    def token_losses(self, batch: Batch, vectors: Tensor) -> Tensor:
        """Cross-entropy of each predicted token [M], group after group, under adapters `vectors` [G, size]."""


class BankPass:
    """One frozen backbone that languages of equal shape go through together."""

    def __init__(self, forward: Forward, team: Team) -> None:
        """Languages come from `forward.start`. Every worker of `team` makes the same calls."""
        self._team = team
        self._forward = forward

    def losses(self, languages: Sequence[LanguageLearner], groups: Sequence[list[Example]]) -> tuple[Tensor, Tensor]:
        """Mean loss of each language over its predicted tokens, and the gradients [languages, size] of these means.

        `groups` are whole batches on every worker of the team. Each passes its share of every language's rows, and
        the parts of means and gradients, weighted by the batch's own count of predicted tokens, add up to the whole's.
        The mean of an empty group is NaN.
        """
        vectors = torch.stack([language.learner.vector for language in languages])
        counts = [sum(len(row.places) for row in group) for group in groups]
        shares = [self._team.share(group) for group in groups]
        means = vectors.new_tensor([0.0 if group else math.nan for group in groups])
        mine = [place for place, share in enumerate(shares) if share]
        if not mine:
            return self._team_sums(means, torch.zeros_like(vectors))
        batch = self._forward.collate([shares[place] for place in mine])
        own = (vectors if len(mine) == len(languages) else vectors[mine]).requires_grad_()
        parts = self._sums(batch, own) / own.new_tensor([counts[i] for i in mine])
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
        """Mean loss of each language over all predicted tokens of its held-out blocks, shared by the team."""
        totals = torch.zeros(len(languages), 2, dtype=torch.float64)
        held_out = [self._team.share(language.held_out) for language in languages]
        # As many rows as in training, so that evaluation needs no more memory.
        rows = languages[0].spec.training.batch_size
        for start in range(0, max(map(len, held_out)), rows):
            present = [place for place in range(len(languages)) if start < len(held_out[place])]
            chosen = [languages[place] for place in present]
            groups = [held_out[place][start : start + rows] for place in present]
            batch = self._forward.collate(groups)
            vectors = torch.stack([language.learner.vector for language in chosen])
            totals[present, 0] += self._sums(batch, vectors).double().cpu()
            totals[present, 1] += batch.rows.valid.sum(1).double().cpu()
        totals = self._team.sum(totals.to(languages[0].learner.vector.device))
        means: list[float] = (totals[:, 0] / totals[:, 1]).tolist()
        return means

    def _sums(self, batch: Batch, vectors: Tensor) -> Tensor:
        """Summed loss of each language, [languages]."""
        return group_sums(self._forward.token_losses(batch, vectors), batch.rows.valid)
