"""What classification and multiple choice share: pairs of texts whose first token's state is read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from jobs.backbone import Backbone
from jobs.batches import Example
from jobs.data.token_pairs import TokenPair, TokenPairs
from jobs.evaluation_sets import NO_LABELS, Batch, by_length, padded_rows
from jobs.metrics import EXAMPLES, Numbers, Statistics

ACCURACY_COLUMNS = (EXAMPLES, "accuracy")
_FIRST = np.zeros(1, dtype=np.int64)


def example(pair: TokenPair) -> Example:
    """A pair read at its first token."""
    return Example(pair.input_ids, _FIRST, np.array([pair.label]), types=pair.types)


def batches(pairs: TokenPairs, backbone: Backbone) -> list[Batch]:
    """Pairs of similar length together; the target of a place is the pair's number."""
    made = []
    for chosen in by_length(pairs.lengths, backbone.device):
        own = [pairs[index] for index in chosen.tolist()]
        places = np.arange(len(own)) * int(pairs.lengths[chosen].max())
        rows = padded_rows([pair.input_ids for pair in own], places, backbone, [pair.types for pair in own])
        made.append(Batch(rows, chosen, NO_LABELS))
    return made


def in_order(made: Sequence[Batch], outputs: Sequence[Tensor]) -> Statistics:
    """Outputs of all batches [pairs, width], in the pairs' order."""
    targets = np.concatenate([batch.targets for batch in made])
    found = np.concatenate([own.double().numpy() for own in outputs])
    ordered = np.empty_like(found)
    ordered[targets] = found
    return ordered


def accuracy_statistics(gold: Numbers, predictions: Numbers) -> Statistics:
    """[examples, 2]: one, and 100 points where the prediction is right."""
    return np.stack([np.ones(len(gold)), 100.0 * (gold == predictions)], axis=1)
