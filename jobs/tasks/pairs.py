"""What classification and multiple choice share: pairs of texts whose first token's state is read, and accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import datasets
import numpy as np
from torch import Tensor

from jobs.scoring.metrics import EXAMPLES, Numbers, Statistics, metric_over
from jobs.tokens.batches import Example
from jobs.tokens.evaluation_sets import NO_LABELS, Batch, Reader, by_length, padded_rows
from jobs.tokens.token_pairs import TokenPair, TokenPairs

_FIRST = np.zeros(1, dtype=np.int64)


def example(pair: TokenPair) -> Example:
    """A pair read at its first token."""
    return Example(pair.input_ids, _FIRST, np.array([pair.label]), types=pair.types)


def batches(pairs: TokenPairs, backbone: Reader) -> list[Batch]:
    """Pairs of similar length together; the target of a place is the pair's number."""
    made = []
    for chosen in by_length(pairs.lengths, backbone.device):
        own = [pairs[index] for index in chosen.tolist()]
        places = np.arange(len(own)) * int(pairs.lengths[chosen].max())
        rows = padded_rows([pair.input_ids for pair in own], places, backbone, [pair.types for pair in own])
        made.append(Batch(rows, chosen, NO_LABELS))
    return made


@dataclass(frozen=True, slots=True, eq=False)
class AccuracySet:
    """Examples that are right or wrong, each of them one row of `found` or several.

    The prediction is the place of the highest output among an example's rows and their outputs; `gold` [examples] are
    such places. `told`: an example's columns and its prediction, as people are to read them.
    """

    columns: ClassVar[tuple[str, ...]] = (EXAMPLES, "accuracy")

    batches: list[Batch]
    gold: Numbers
    found: TokenPairs
    records: datasets.Dataset
    told: Callable[[Mapping[str, Any], int], dict[str, Any]]

    def score(self, outputs: Sequence[Tensor]) -> tuple[Statistics, Numbers]:
        """One for every example, and 100 points where the prediction is right."""
        predictions = _in_order(self.batches, outputs).reshape(len(self.gold), -1).argmax(-1)
        return np.stack([np.ones(len(self.gold)), 100.0 * (self.gold == predictions)], axis=1), predictions

    def metrics(self, sums: Statistics) -> dict[str, float]:
        """Accuracy in points."""
        return {"accuracy": float(metric_over("accuracy", self.columns)(sums))}

    def details(self) -> dict[str, Any]:
        """Unknown pieces, and rows cut to the longest length."""
        return {"unknown_share": self.found.unknown_share, "truncated": self.found.truncated}

    def rows(self, predictions: Numbers) -> Iterator[dict[str, Any]]:
        """Each example with what was right and what was predicted."""
        yield from map(self.told, self.records, predictions.tolist())


def _in_order(made: Sequence[Batch], outputs: Sequence[Tensor]) -> Statistics:
    """Outputs of all batches [pairs, width], in the pairs' order."""
    targets = np.concatenate([batch.targets for batch in made])
    found = np.concatenate([own.double().numpy() for own in outputs])
    ordered = np.empty_like(found)
    ordered[targets] = found
    return ordered
