"""Rows of batches as models take them: padded token ids, and whose row each is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jobs.models.row_dropout import RowsDropout


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch of G groups of equally many rows, padded on the right.

    `ids` [G * B, T]; `keep` [G * B, T] is true on tokens, or None when nothing is padded. `positions` [G, K]: which
    of a group's B * T positions are wanted, padded with 0; `valid` [G, K] is true on the wanted ones. `types`
    [G * B, T]: which of two texts a token is of (BERT's token types), None where all rows are one text. `dropout`: what
    the rows' masks are drawn by, None where nothing is dropped.
    """

    ids: Tensor
    keep: Tensor | None
    positions: Tensor
    valid: Tensor
    types: Tensor | None = None
    dropout: RowsDropout | None = None


@dataclass(frozen=True, slots=True)
class EncoderRows:
    """What the encoder of a T5-like model reads: `ids` [R, S], padded on the right; `keep` is true on tokens."""

    ids: Tensor
    keep: Tensor


@dataclass(frozen=True, slots=True)
class LmRows:
    """`rows`: groups of rows whose wanted positions predict `labels` [M]; `source` with T5-like models alone."""

    rows: Rows
    labels: Tensor
    source: EncoderRows | None = None


@dataclass(frozen=True, slots=True)
class MaskedRows:
    """Rows whose wanted positions are the masked positions; `labels` [M]: the tokens there, group after group."""

    rows: Rows
    labels: Tensor

    def split(self, heights: Sequence[int], labels: Sequence[int]) -> list[MaskedRows]:
        """Each group as a batch of its own, without dropout: its `heights[g]` rows, its `labels[g]` labels."""
        tall = len(self.rows.ids) // len(heights)
        counts = self.rows.valid.sum(1).tolist()
        made = []
        for group, (height, own) in enumerate(zip(heights, torch.split(self.labels, list(labels)), strict=True)):
            part, wanted = slice(group * tall, group * tall + height), slice(0, counts[group])
            keep, types = (None if one is None else one[part] for one in (self.rows.keep, self.rows.types))
            places = self.rows.positions[group : group + 1, wanted], self.rows.valid[group : group + 1, wanted]
            made.append(MaskedRows(Rows(self.rows.ids[part], keep, *places, types), own))
        return made
