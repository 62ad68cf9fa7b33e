"""Passes of a bank's languages through the frozen backbone: losses with gradients, and held-out losses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from jobs.banks.language_learner import LanguageLearner
from jobs.models.frozen_linear import group_sums
from jobs.models.rows import Rows
from jobs.spec import LanguageCall
from jobs.tokens.batches import Example
from jobs.training.data_parallel import DataParallel
from jobs.training.throughput import ModelShape

# Of the languages that pass at a time on a CPU: with more of them a step is no faster, and takes more memory.
TOKENS = 2048


class BankBatch(Protocol):
    """What a backbone is given: rows in groups, one group for each language."""

    @property
    def rows(self) -> Rows:
        """The rows and the positions whose tokens are predicted."""


class AdapterBackend(Protocol):
    """One frozen backbone with adapters of one shape in it; see `jobs.banks.adapter_backends`."""

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""

    @property
    def shape(self) -> ModelShape:
        """What arithmetic it needs."""

    def weights(self) -> Iterable[Tensor]:
        """The backbone's frozen weights."""

    def start(self, call: LanguageCall) -> LanguageLearner:
        """Read a language's corpus. Raises InputError for what the user can mend."""

    def collate(self, groups: Sequence[Sequence[Example]]) -> BankBatch:
        """One batch of all groups, on the backbone's device."""

    def token_losses(self, batch: BankBatch, vectors: Tensor) -> Tensor:
        """Cross-entropy of each predicted token [M], group after group, under adapters `vectors` [G, size]."""


class BankPass:
    """One frozen backbone that languages of equal shape go through, as many at a time as are fastest."""

    def __init__(self, forward: AdapterBackend, team: DataParallel) -> None:
        """Languages come from `forward.start`. Every worker of `team` makes the same calls."""
        self._team = team
        self._forward = forward

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""
        return self._forward.device

    @property
    def shape(self) -> ModelShape:
        """What arithmetic it needs."""
        return self._forward.shape

    def start(self, call: LanguageCall) -> LanguageLearner:
        """Read a language's corpus. Raises InputError for what the user can mend."""
        return self._forward.start(call)

    def losses(
        self, languages: Sequence[LanguageLearner], groups: Sequence[list[Example]]
    ) -> tuple[Tensor, list[Tensor]]:
        """Mean loss of each language over its predicted tokens [languages], and the gradients [size] of these means.

        `groups` are whole batches on every worker of the team. Each passes its share of every language's rows, and
        the parts of means and gradients, weighted by the batch's own count of predicted tokens, add up to the whole's.
        The mean of an empty group is NaN.
        """
        passed = [
            self._means_and_gradients(languages[part], groups[part])
            for part in parts(languages, self._forward.device, self._team)
        ]
        means = self._team.all_reduce(torch.cat([means for means, _ in passed]))
        return means, [gradient for _, gradients in passed for gradient in self._team.all_reduce(gradients)]

    def _means_and_gradients(
        self, languages: Sequence[LanguageLearner], groups: Sequence[list[Example]]
    ) -> tuple[Tensor, Tensor]:
        """This worker's part of the means [languages] and of their gradients [languages, size], by one pass."""
        vectors = _vectors(languages)
        counts = [sum(len(row.positions) for row in group) for group in groups]
        shares = [self._team.shard(group) for group in groups]
        means = vectors.new_tensor([0.0 if group else math.nan for group in groups])
        mine = [place for place, share in enumerate(shares) if share]
        if not mine:
            return means, torch.zeros_like(vectors)
        batch = self._forward.collate([shares[place] for place in mine])
        own = (vectors if len(mine) == len(languages) else vectors[mine]).requires_grad_()
        losses = self._sums(batch, own) / own.new_tensor([counts[place] for place in mine])
        (gradients,) = torch.autograd.grad(losses.sum(), own)
        means[mine] += losses.detach()
        if len(mine) < len(languages):
            gradients = torch.zeros_like(vectors).index_copy_(0, torch.tensor(mine, device=own.device), gradients)
        return means, gradients

    @torch.no_grad()
    def held_out_values(self, languages: Sequence[LanguageLearner]) -> list[float]:
        """Mean loss of each language over all predicted tokens of its held-out blocks, shared by the team."""
        totals = torch.cat(
            [self._held_out_sums(languages[part]) for part in parts(languages, self._forward.device, self._team)]
        )
        totals = self._team.all_reduce(totals.to(self._forward.device))
        means: list[float] = (totals[:, 0] / totals[:, 1]).tolist()
        return means

    def _held_out_sums(self, languages: Sequence[LanguageLearner]) -> Tensor:
        """Summed loss and count of predicted tokens of this worker's held-out blocks, [languages, 2]."""
        totals = torch.zeros(len(languages), 2, dtype=torch.float64)
        held_out = [self._team.shard(language.held_out) for language in languages]
        # As many rows as in training, so that evaluation needs no more memory.
        rows = languages[0].spec.training.batch_size
        for start in range(0, max(map(len, held_out)), rows):
            present = [place for place in range(len(languages)) if start < len(held_out[place])]
            batch = self._forward.collate([held_out[place][start : start + rows] for place in present])
            sums = self._sums(batch, _vectors([languages[place] for place in present]))
            totals[present, 0] += sums.double().cpu()
            totals[present, 1] += batch.rows.valid.sum(1).double().cpu()
        return totals

    def _sums(self, batch: BankBatch, vectors: Tensor) -> Tensor:
        """Summed loss of each language, [languages]."""
        return group_sums(self._forward.token_losses(batch, vectors), batch.rows.valid)


def parts(languages: Sequence[LanguageLearner], device: torch.device, team: DataParallel) -> list[slice]:
    """Which of a bank's languages pass at a time, in parts of about equal size; the same on every worker of `team`.

    What a pass keeps for its gradients is freed before the next one. A GPU, which wants many rows, takes all at once.
    """
    if device.type != "cpu":
        return [slice(0, len(languages))]
    rows = math.ceil(languages[0].spec.training.batch_size / team.size)
    length = max(language.spec.training.max_length for language in languages)
    count = math.ceil(len(languages) / max(1, TOKENS // (rows * length)))
    ends = [number * len(languages) // count for number in range(count + 1)]
    return [slice(*pair) for pair in pairwise(ends)]


def _vectors(languages: Sequence[LanguageLearner]) -> Tensor:
    """The adapters of `languages`, [languages, size]; that of a single one is not copied."""
    if len(languages) == 1:
        return languages[0].learner.vector.detach()[None]
    return torch.stack([language.learner.vector for language in languages])
