"""Cross-entropy of masked positions against a frozen vocabulary matrix, without keeping any logits."""

from __future__ import annotations

import torch
from torch import Tensor

from jobs.models.cross_entropy import frozen_cross_entropy
from jobs.models.encoder import FrozenEncoder
from jobs.models.madx import BankWeights
from jobs.models.rows import MaskedRows


def token_losses(encoder: FrozenEncoder, batch: MaskedRows, weights: BankWeights) -> Tensor:
    """Cross-entropy in nats of each masked position, [M], group after group."""
    hidden = encoder.before_output(encoder.hidden_states(batch.rows, (weights,)), weights)
    output = encoder.head.get_output_embeddings()  # type: ignore[union-attr]
    return frozen_cross_entropy(hidden[batch.rows.valid], output.weight, output.bias, batch.labels)


def group_sums(losses: Tensor, valid: Tensor) -> Tensor:
    """Sum of `losses` [M] for each group of `valid` [G, K] -> [G]. Groups do not touch each other."""
    counts = valid.sum(1).tolist()
    return torch.stack([part.sum() for part in torch.split(losses, counts)])
