"""Pairs of texts whose first token's state is read: inference with its labels, and the more plausible of two choices.

Classification of pairs, such as natural language inference, has a label for premise and hypothesis, one row an example.
Of a multiple choice, such as COPA, each choice is a row of its own and gets one number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np
import torch
from torch import Tensor

from jobs.data.load import load_records
from jobs.models.rows import MaskedRows
from jobs.scoring.metrics import EXAMPLES, Numbers, Statistics, choice_points, metric_over
from jobs.spec import TaskAdapterSpec
from jobs.tasks.heads import classification_head, multiple_choice_head
from jobs.tasks.protocol import HeadTask, TrainingSet
from jobs.tokens.batches import Example
from jobs.tokens.evaluation_sets import NO_LABELS, Batch, EvaluationSet, Reader, by_length, padded_rows
from jobs.tokens.token_pairs import TokenPair, TokenPairs, token_pairs

CHOICES = 2
_FIRST = np.zeros(1, dtype=np.int64)


def example(pair: TokenPair) -> Example:
    """A pair read at its first token."""
    return Example(pair.input_ids, _FIRST, np.array([pair.label]), types=pair.types)


def batches(pairs: TokenPairs, backbone: Reader) -> list[Batch]:
    """Pairs of similar length together; the target of a place is the pair's number."""
    made = []
    for chosen in by_length(pairs.lengths, backbone.device):
        own = [pairs[index] for index in chosen.tolist()]
        positions = np.arange(len(own)) * int(pairs.lengths[chosen].max())
        rows = padded_rows([pair.input_ids for pair in own], positions, backbone, [pair.types for pair in own])
        made.append(Batch(rows, chosen, NO_LABELS))
    return made


@dataclass(frozen=True, slots=True, eq=False)
class AccuracySet:
    """Examples that are right or wrong, each of them one row of `found` or several.

    The prediction is the place of the highest output among an example's rows and their outputs, the first of equal
    ones, which share the points (`choice_points`); `gold` [examples] are such positions. `told`: an example's columns
    and its prediction, as people are to read them.
    """

    columns: ClassVar[tuple[str, ...]] = (EXAMPLES, "accuracy")

    batches: list[Batch]
    gold: Numbers
    found: TokenPairs
    records: datasets.Dataset
    told: Callable[[Mapping[str, Any], int], dict[str, Any]]

    def score(self, outputs: Sequence[Tensor]) -> tuple[Statistics, Numbers]:
        """One for every example, and 100 points where the prediction is right."""
        scores = _in_order(self.batches, outputs).reshape(len(self.gold), -1)
        points, _ = choice_points(scores, self.gold)
        return np.stack([np.ones(len(self.gold)), points], axis=1), scores.argmax(-1)

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


def _training_set(spec: TaskAdapterSpec, cache: Path, each: int) -> TrainingSet:
    """`each`: rows of an example."""
    found = token_pairs(spec.data, "train", spec.task, spec.backbone, spec.training.max_length, cache)
    lengths = found.lengths.reshape(-1, each).max(axis=1)
    details = {"train_examples": len(lengths), "truncated": found.truncated}

    def rows(number: int) -> list[Example]:
        return [example(pair) for pair in found[each * number : each * (number + 1)]]

    return TrainingSet(lengths, rows, details)


def _scored_set(
    evaluation: EvaluationSet,
    backbone: Reader,
    cache: Path,
    gold: Callable[[Numbers], Numbers],
    told: Callable[[Mapping[str, Any], int], dict[str, Any]],
) -> AccuracySet:
    """`gold`: the right predictions, from the rows' labels."""
    task, data, split = evaluation.task, evaluation.data, evaluation.split
    found = token_pairs(data, split, task, backbone.ref, evaluation.max_length, cache)
    right = gold(np.array([pair.label for pair in found], dtype=np.int64))
    return AccuracySet(batches(found, backbone), right, found, load_records(data, split, task, cache), told)


def _pair_set(evaluation: EvaluationSet, backbone: Reader, cache: Path) -> AccuracySet:
    """Predictions are label numbers."""

    def told(row: Mapping[str, Any], number: int) -> dict[str, Any]:
        texts = {name: row[name] for name in ("premise", "hypothesis") if row[name]}
        return {**texts, "gold": row["label"], "predicted": evaluation.task.labels[number]}

    return _scored_set(evaluation, backbone, cache, lambda labels: labels, told)


def _pair_loss(logits: Tensor, batch: MaskedRows) -> Tensor:
    """Cross-entropy, mean over examples."""
    return torch.nn.functional.cross_entropy(logits, batch.labels)


def _choice_set(evaluation: EvaluationSet, backbone: Reader, cache: Path) -> AccuracySet:
    """Predictions are the number of a choice, 0 or 1."""

    def told(row: Mapping[str, Any], number: int) -> dict[str, Any]:
        return {**{name: row[name] for name in row if name != "label"}, "gold": row["label"], "predicted": number}

    return _scored_set(evaluation, backbone, cache, lambda labels: labels.reshape(-1, CHOICES).argmax(-1), told)


def _choice_loss(logits: Tensor, batch: MaskedRows) -> Tensor:
    """Cross-entropy between the choices of an example, mean over examples."""
    right = batch.labels.view(-1, CHOICES).argmax(-1)
    return torch.nn.functional.cross_entropy(logits.view(-1, CHOICES), right)


CLASSIFICATION = HeadTask(
    lambda task: classification_head(task.labels),
    lambda spec, cache: _training_set(spec, cache, 1),
    _pair_loss,
    _pair_set,
)
MULTIPLE_CHOICE = HeadTask(
    lambda task: multiple_choice_head(CHOICES),
    lambda spec, cache: _training_set(spec, cache, CHOICES),
    _choice_loss,
    _choice_set,
)
