"""Held-out text with fixed masks, as batches that are built once and scored many times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from jobs.models.madx_backbone import Backbone, require_masked_lm
from jobs.scoring.metrics import LOSS_COLUMNS, Statistics, mlm_loss
from jobs.tokens.evaluation_sets import MASK_SEED, Batch, EvaluationSet, by_length, padded_rows
from jobs.tokens.masking import MaskVocabulary, fixed_mask
from jobs.tokens.text_blocks import text_blocks


@dataclass(frozen=True, slots=True, eq=False)
class MaskedSet:
    """Held-out text with fixed masks. `blocks`: how many there are."""

    columns: ClassVar[tuple[str, ...]] = LOSS_COLUMNS

    batches: list[Batch]
    blocks: int
    unknown_share: float

    def metrics(self, sums: Statistics) -> dict[str, float]:
        """The loss in nats per hidden token, and how many tokens were hidden, from summed statistics."""
        return {"mlm_loss": float(mlm_loss(sums)), "tokens": float(sums[1])}

    def details(self) -> dict[str, Any]:
        """What the record says of the data."""
        return {"unknown_share": self.unknown_share}

    def rows(self, predictions: object) -> Iterator[dict[str, Any]]:
        """Nothing is predicted."""
        return iter(())


def masked_set(evaluation: EvaluationSet, backbone: Backbone, cache: Path) -> MaskedSet:
    """Load, tokenize, hide tokens and batch. Raises InputError for a backbone that cannot fill masks."""
    require_masked_lm(backbone)
    blocks = text_blocks(evaluation.data, evaluation.split, backbone.ref, evaluation.max_length, cache)
    vocabulary = MaskVocabulary.of_tokenizer(backbone.tokenizer)
    masked = [
        fixed_mask(block, evaluation.mask_probability, MASK_SEED, index, vocabulary)
        for index, block in enumerate(blocks)
    ]
    batches = []
    for chosen in by_length(blocks.lengths, backbone.device):
        width = int(blocks.lengths[chosen].max())
        positions = np.concatenate([masked[index][1] + row * width for row, index in enumerate(chosen)])
        targets = np.repeat(chosen, [len(masked[index][1]) for index in chosen])
        labels = np.concatenate([masked[index][2] for index in chosen])
        rows = padded_rows([masked[index][0] for index in chosen], positions, backbone)
        batches.append(Batch(rows, targets, torch.from_numpy(labels).to(backbone.device)))
    return MaskedSet(batches, len(blocks), blocks.unknown_share)
