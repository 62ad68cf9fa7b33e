"""Evaluation data as batches that are built once and scored many times: what a set is, and how rows become batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from jobs.errors import Fault, InputError
from jobs.models.rows import Rows
from jobs.scoring.metrics import Numbers
from jobs.spec import BackboneRef, DataRef, Split, TaskRef

# The hidden tokens of a held-out text are the same for every system, seed and campaign that is compared.
MASK_SEED = 20_240_424
# Padded tokens of a batch. On a CPU small ones stay in the caches; on a GPU large ones fill it.
_TOKENS = {"cpu": 1024, "cuda": 65_536}


class Reader(Protocol):
    """A model as data sees it: its tokenizer, where its rows lie, and how many tokens it reads."""

    @property
    def ref(self) -> BackboneRef:
        """The pinned model."""

    @property
    def tokenizer(self) -> Any:
        """Of the model."""

    @property
    def device(self) -> torch.device:
        """Where its weights are."""

    @property
    def max_length(self) -> int:
        """The longest row in tokens."""


def check_length(max_length: int, model: Reader, where: str = "max_length") -> None:
    """Raise InputError, at the key `where`, when rows of `max_length` tokens are longer than the model reads."""
    if max_length > model.max_length:
        todo = f"{model.ref.name} reads at most {model.max_length} tokens"
        raise InputError(Fault("longer than the backbone reads", where, str(max_length), todo))


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """What is scored: a split of one language's data for one task. `mask_probability` counts for masked LM alone."""

    task: TaskRef
    data: DataRef
    split: Split
    max_length: int
    mask_probability: float = 0.15


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows of similar length. `targets`: for each wanted place, the number of what it is of: a word, block, row.

    `labels` [K]: the hidden tokens of masked LM; empty for tasks with a head.
    """

    rows: Rows
    targets: Numbers
    labels: Tensor


NO_LABELS = torch.empty(0, dtype=torch.long)


def first_validation(data: DataRef, most: int) -> DataRef:
    """The data with at most `most` validation examples, the first ones; all of them where `most` is 0."""
    if not most:
        return data
    limits = dict(data.limits)
    limits["validation"] = min(most, limits.get("validation", most))
    return replace(data, limits=tuple(sorted(limits.items())))


def validation_of(every: Sequence[DataRef], most: int) -> list[DataRef]:
    """Several languages' data with at most `most` validation examples together, an equal share of each; 0: all."""
    return [first_validation(data, max(1, most // len(every)) if most else 0) for data in every]


def by_length(lengths: Numbers, device: torch.device, tokens: Mapping[str, int] = _TOKENS) -> Iterator[Numbers]:
    """Indices of each batch: neighbours in length, as many as the padded `tokens` of a batch allow on `device`.

    The longest come first: memory that suffices at first suffices to the end.
    """
    budget = tokens[device.type]
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, budget // int(lengths[order[start]]))
        yield order[start : start + size]
        start += size


def padded_rows(ids: Sequence[Any], positions: Numbers, backbone: Reader, types: Sequence[Any] | None = None) -> Rows:
    """One group of rows, padded to the longest; `positions` count over the flattened rows. `types`: see `Rows`."""
    padded = _padded(ids, backbone.tokenizer.pad_token_id)
    keep = torch.arange(padded.shape[1]) < torch.tensor([len(own) for own in ids])[:, None]
    where = torch.from_numpy(positions.astype(np.int64))[None].to(backbone.device)
    mask = None if bool(keep.all()) else keep.to(backbone.device)
    valid = torch.ones_like(where, dtype=torch.bool)
    kinds = None if types is None else torch.from_numpy(_padded(types, 0)).to(backbone.device)
    return Rows(torch.from_numpy(padded).to(backbone.device), mask, where, valid, kinds)


def _padded(rows: Sequence[Any], filler: int) -> Numbers:
    padded = np.full((len(rows), max(map(len, rows))), filler, dtype=np.int64)
    for row, own in enumerate(rows):
        padded[row, : len(own)] = own
    return padded
