"""Evaluation data as batches that are built once and scored many times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jobs.backbone import Backbone, require_masked_lm
from jobs.data.masking import MaskVocabulary, fixed_mask
from jobs.data.token_labels import NOWHERE, token_labels
from jobs.data.tokenized import text_blocks
from jobs.encoder import Rows
from jobs.errors import Fault, InputError
from jobs.metrics import Numbers
from jobs.spec import DataRef, Split, TaskKind, TaskRef

# The hidden tokens of a held-out text are the same for every system, seed and campaign that is compared.
MASK_SEED = 20_240_424
# Padded tokens of a batch. On a CPU small ones stay in the caches; on a GPU large ones fill it.
_TOKENS = {"cpu": 1024, "cuda": 65_536}


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
    """Rows of similar length. `targets`: for each wanted place, the word (NER) or the block (masked LM) it is of.

    `labels` [K]: the hidden tokens of masked LM; empty for NER.
    """

    rows: Rows
    targets: Numbers
    labels: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class WordSet:
    """A named-entity set. `gold`, `sentences` [words]: each word's label number and sentence.

    `lost_words`: words beyond `max_length` or without a piece; they are scored as predicted O.
    """

    batches: list[Batch]
    labels: tuple[str, ...]
    gold: Numbers
    sentences: Numbers
    lost_words: int
    unknown_share: float


@dataclass(frozen=True, slots=True, eq=False)
class MaskedSet:
    """Held-out text with fixed masks. `blocks`: how many there are."""

    batches: list[Batch]
    blocks: int
    unknown_share: float


def prepare(evaluation: EvaluationSet, backbone: Backbone, cache: Path) -> WordSet | MaskedSet:
    """Load, tokenize and batch a set on the backbone's device.

    Raises InputError for faulty data, and for a `max_length` that the backbone cannot read.
    """
    if evaluation.max_length > backbone.max_length:
        got, todo = str(evaluation.max_length), f"{backbone.ref.name} reads at most {backbone.max_length} tokens"
        raise InputError(Fault("max_length is too large", "max_length", got, todo))
    return _PREPARE[evaluation.task.kind](evaluation, backbone, cache)


def _words(evaluation: EvaluationSet, backbone: Backbone, cache: Path) -> WordSet:
    task, data, split = evaluation.task, evaluation.data, evaluation.split
    if "O" not in task.labels:
        got = ", ".join(task.labels)
        raise InputError(Fault("the labels lack O", f"task {task.name}", got, "list every IOB2 label, O included"))
    examples = token_labels(data, split, task, backbone.ref, evaluation.max_length, cache)
    everything = list(examples)
    counts = [len(example.word_starts) for example in everything]
    first = np.cumsum([0, *counts])
    batches = []
    for chosen in _by_length(examples.lengths, backbone):
        places, targets = [], []
        width = int(examples.lengths[chosen].max())
        for row, index in enumerate(chosen):
            starts = everything[index].word_starts
            found = np.flatnonzero(starts != NOWHERE)
            places.append(starts[found] + row * width)
            targets.append(found + first[index])
        ids = [everything[index].input_ids for index in chosen]
        rows = _rows(ids, np.concatenate(places), backbone)
        batches.append(Batch(rows, np.concatenate(targets), torch.empty(0, dtype=torch.long)))
    gold = np.concatenate([example.word_labels for example in everything]).astype(np.int64)
    sentences = np.repeat(np.arange(len(everything)), counts)
    return WordSet(batches, task.labels, gold, sentences, examples.lost_words, examples.unknown_share)


def _masked(evaluation: EvaluationSet, backbone: Backbone, cache: Path) -> MaskedSet:
    require_masked_lm(backbone)
    blocks = text_blocks(evaluation.data, evaluation.split, backbone.ref, evaluation.max_length, cache)
    vocabulary = MaskVocabulary.of_tokenizer(backbone.tokenizer)
    masked = [
        fixed_mask(block, evaluation.mask_probability, MASK_SEED, index, vocabulary)
        for index, block in enumerate(blocks)
    ]
    batches = []
    for chosen in _by_length(blocks.lengths, backbone):
        width = int(blocks.lengths[chosen].max())
        places = np.concatenate([masked[index][1] + row * width for row, index in enumerate(chosen)])
        targets = np.repeat(chosen, [len(masked[index][1]) for index in chosen])
        labels = np.concatenate([masked[index][2] for index in chosen])
        rows = _rows([masked[index][0] for index in chosen], places, backbone)
        batches.append(Batch(rows, targets, torch.from_numpy(labels).to(backbone.device)))
    return MaskedSet(batches, len(blocks), blocks.unknown_share)


_Prepare = Callable[[EvaluationSet, Backbone, Path], "WordSet | MaskedSet"]
_PREPARE: dict[TaskKind, _Prepare] = {"ner": _words, "masked-lm": _masked}


def _by_length(lengths: Numbers, backbone: Backbone) -> Iterator[Numbers]:
    """Indices of each batch: neighbours in length, as many as the padded tokens of a batch allow."""
    budget = _TOKENS[backbone.device.type]
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, budget // int(lengths[order[start]]))
        yield order[start : start + size]
        start += size


def _rows(ids: Sequence[Any], places: Numbers, backbone: Backbone) -> Rows:
    """One group of rows, padded to the longest; `places` count over the flattened rows."""
    width = max(map(len, ids))
    padded = np.full((len(ids), width), backbone.tokenizer.pad_token_id, dtype=np.int64)
    for row, own in enumerate(ids):
        padded[row, : len(own)] = own
    keep = torch.arange(width) < torch.tensor([len(own) for own in ids])[:, None]
    where = torch.from_numpy(places.astype(np.int64))[None].to(backbone.device)
    mask = None if bool(keep.all()) else keep.to(backbone.device)
    valid = torch.ones_like(where, dtype=torch.bool)
    return Rows(torch.from_numpy(padded).to(backbone.device), mask, where, valid)
