"""Cross-entropy of masked positions against a frozen vocabulary matrix, without keeping any logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jobs.bank import BankWeights
from jobs.encoder import FrozenEncoder, Rows
from jobs.frozen_cross_entropy import frozen_cross_entropy


@dataclass(frozen=True, slots=True)
class MaskedRows:
    """Rows whose wanted places are the masked positions; `labels` [M]: the tokens there, group after group."""

    rows: Rows
    labels: Tensor


def token_losses(encoder: FrozenEncoder, batch: MaskedRows, weights: BankWeights) -> Tensor:
    """Cross-entropy in nats of each masked position, [M], group after group."""
    hidden = encoder.before_output(encoder.hidden_states(batch.rows, (weights,)), weights)
    output = encoder.head.get_output_embeddings()  # type: ignore[union-attr]
    return frozen_cross_entropy(hidden[batch.rows.valid], output.weight, output.bias, batch.labels)


def group_sums(losses: Tensor, valid: Tensor) -> Tensor:
    """Sum of `losses` [M] for each group of `valid` [G, K] -> [G]. Groups do not touch each other."""
    counts = valid.sum(1).tolist()
    return torch.stack([part.sum() for part in torch.split(losses, counts)])
