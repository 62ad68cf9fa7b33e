"""Which blocks of a language make up its n-th batch, and how rows are put together.

Everything is drawn from (seed, language, counter), so that a language's stream depends on no other language and
on no history: to resume, the counter is all one needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from jobs.models.row_dropout import RowDropout, RowsDropout
from jobs.models.rows import MaskedRows, Rows
from jobs.spec import Batching, TaskAdapterSpec

Ints = NDArray[np.integer[Any]]

_GOLDEN = (5**0.5 - 1) / 2
_ORDER, _MASKS, _DROPOUT = 0, 1, 2
# Batches that rows of a task are sorted in.
TASK_WINDOW = 50


class Example(NamedTuple):
    """Token ids of one row, the positions whose outputs are wanted, and the labels at those positions.

    `source`: what the encoder of a T5-like model reads; `ids` are then what its decoder is given. `types`: which of
    two texts each token is of (BERT's token types). `dropout`: how elements are dropped while one learns from the row.
    """

    ids: Ints
    positions: Ints
    labels: Ints
    source: Ints | None = None
    types: Ints | None = None
    dropout: RowDropout | None = None

    @property
    def tokens(self) -> int:
        """Tokens that a model reads."""
        return len(self.ids) + (0 if self.source is None else len(self.source))


class BatchOrder:
    """The order in which `lengths.size` rows are visited: shuffled every epoch, rows of like length together.

    Inside every `window` batches of the shuffled epoch (0: the whole epoch) rows are sorted by length and cut into
    batches. A window of one batch is no sorting at all. Whole epochs are for blocks of a corpus, which are equally
    long but for a token; rows of a task are sorted in small windows, so that what comes after what is chance.

    The n-th batch of every language has about the same rank by length, the fractional part of n times the golden
    ratio, so that the rows of a bank that meet in a batch are alike and little is padded.
    """

    def __init__(self, lengths: Ints, batch_size: int, seed: int, key: str, window: int = 0) -> None:
        """`key` names the stream, e.g. the language."""
        self.rows = len(lengths)
        self._lengths = lengths
        self._batch_size = batch_size
        self._window = window
        self._stream = (seed, stream_number(key))
        self.batches_per_epoch = max(1, len(lengths) // batch_size)
        self._epoch = -1
        self._batches: NDArray[np.int64] = np.empty((0, 0), dtype=np.int64)

    def __getitem__(self, number: int) -> NDArray[np.int64]:
        """Row numbers [batch_size] of the batch `number`, counted from 0 over all epochs.

        An epoch leaves out the rows that do not fill a batch, other ones each time; fewer rows than a batch
        are repeated.
        """
        epoch, place = divmod(number, self.batches_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._shuffled(epoch)
        batch: NDArray[np.int64] = self._batches[place]
        return batch

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        count = self.batches_per_epoch
        rng = np.random.default_rng([*self._stream, _ORDER, epoch])
        rows = np.resize(rng.permutation(len(self._lengths)), count * self._batch_size)
        if self._window == 1:
            return rows.reshape(count, self._batch_size)
        window = min(self._window or count, count)
        parts = [
            self._sorted(rows[first * self._batch_size : (first + window) * self._batch_size], epoch * count + first)
            for first in range(0, count, window)
        ]
        return np.concatenate(parts)

    def _sorted(self, rows: NDArray[np.int64], first: int) -> NDArray[np.int64]:
        """Batches of `rows`, alike in length; the first of them has the number `first`."""
        by_length = rows[np.argsort(self._lengths[rows], kind="stable")].reshape(-1, self._batch_size)
        numbers = np.arange(first, first + len(by_length))
        ranks = np.argsort(np.argsort((numbers * _GOLDEN) % 1.0, kind="stable"), kind="stable")
        batches: NDArray[np.int64] = by_length[ranks]
        return batches

    def rng(self, number: int) -> np.random.Generator:
        """The generator of the batch `number`, for masks."""
        return np.random.default_rng([*self._stream, _MASKS, number])

    def dropped(self, examples: list[Example], number: int, rate: float) -> list[Example]:
        """The examples of the batch `number`, each with masks of its own; as they are where `rate` is 0."""
        if not rate:
            return examples
        seeds = np.random.default_rng([*self._stream, _DROPOUT, number]).integers(1 << 31, size=len(examples))
        return [
            example._replace(dropout=RowDropout(seed, rate))
            for example, seed in zip(examples, seeds.tolist(), strict=True)
        ]


def task_order(lengths: Ints, spec: TaskAdapterSpec) -> BatchOrder:
    """The order of a task's training rows."""
    window = window_of(spec.training.batching, TASK_WINDOW)
    return BatchOrder(lengths, spec.training.batch_size, spec.seed, f"{spec.task.name}:{spec.language}", window)


def window_of(batching: Batching, whole: int) -> int:
    """The window of a `BatchOrder`; `whole`: that of sorting by length."""
    return whole if batching == "by_length" else 1


def stream_number(key: str) -> int:
    """A 64-bit number for a stream's name, the same in every process."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


def collate(groups: Sequence[Sequence[Example]], pad: int, device: torch.device) -> MaskedRows:
    """One batch of the groups' examples, each group filled up with one-token rows to the largest group."""
    return MaskedRows(*collate_rows(groups, pad, device))


def collate_rows(groups: Sequence[Sequence[Example]], pad: int, device: torch.device) -> tuple[Rows, torch.Tensor]:
    """The rows of `collate`, and the labels at their wanted positions."""
    height = max(len(group) for group in groups)
    width = max(len(example.ids) for group in groups for example in group)
    ids = np.full((len(groups) * height, width), pad, dtype=np.int64)
    keep = np.zeros(ids.shape, dtype=np.bool_)
    keep[:, 0] = True
    types = np.zeros_like(ids) if any(example.types is not None for group in groups for example in group) else None
    positions: list[NDArray[np.int64]] = []
    for number, group in enumerate(groups):
        for row, example in enumerate(group, start=number * height):
            ids[row, : len(example.ids)] = example.ids
            keep[row, : len(example.ids)] = True
            if types is not None and example.types is not None:
                types[row, : len(example.ids)] = example.types
        positions.append(np.concatenate([example.positions + row * width for row, example in enumerate(group)]))
    most = max(len(wanted) for wanted in positions)
    padded, valid = np.zeros((len(groups), most), dtype=np.int64), np.zeros((len(groups), most), dtype=np.bool_)
    for number, wanted in enumerate(positions):
        padded[number, : len(wanted)] = wanted
        valid[number, : len(wanted)] = True
    labels = np.concatenate([example.labels for group in groups for example in group]).astype(np.int64)
    rows = Rows(
        _tensor(ids, device),
        None if keep.all() else _tensor(keep, device),
        _tensor(padded, device),
        _tensor(valid, device),
        None if types is None else _tensor(types, device),
        _dropout(groups, height, device),
    )
    return rows, _tensor(labels, device)


def _dropout(groups: Sequence[Sequence[Example]], height: int, device: torch.device) -> RowsDropout | None:
    """Of all rows; those that fill up a group drop nothing."""
    if not any(example.dropout for group in groups for example in group):
        return None
    seeds, rates = np.zeros((len(groups), height), dtype=np.int32), np.zeros((len(groups), height), dtype=np.float32)
    for number, group in enumerate(groups):
        for row, example in enumerate(group):
            if example.dropout:
                seeds[number, row], rates[number, row] = example.dropout
    return RowsDropout(_tensor(seeds.ravel(), device), _tensor(rates.ravel(), device))


def _tensor(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(array).to(device, non_blocking=True)
