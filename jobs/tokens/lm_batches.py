"""Batches of a language model: rows of tokens, and those tokens that are to be predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from jobs.errors import Fault, InputError
from jobs.models.language_model import LanguageModel
from jobs.models.rows import EncoderRows, LmRows
from jobs.tokens.batches import Example, Ints, collate_rows

# The label of a token that is not to be predicted, as everywhere in transformers.
UNLABELLED = -100


@dataclass(frozen=True, slots=True)
class PromptedExample:
    """What a language model is given and what it must write.

    Decoders: `input_ids` [n] is prompt and answer, `labels` [n] the same ids with `UNLABELLED` in place of the prompt
    (the token at place i is predicted from those before it). T5-like models: `input_ids` [n] is the prompt that the
    encoder reads, `labels` [m] the answer.
    """

    input_ids: Ints
    labels: Ints


def prompted(example: PromptedExample, model: LanguageModel) -> Example:
    """The example as rows hold it. Raises InputError when nothing is labelled, or it is longer than the model reads."""
    labels = np.asarray(example.labels, dtype=np.int64)
    longest = max(len(example.input_ids), len(labels))
    if longest > model.max_length:
        todo = f"the backbone reads at most {model.max_length}"
        raise InputError(Fault("an example is longer than the backbone reads", "", f"{longest} tokens", todo))
    positions = np.flatnonzero(labels != UNLABELLED)
    if model.family == "encoder-decoder":
        return continuation(np.asarray(example.input_ids), labels[positions], model)
    positions = positions[positions > 0]
    if not len(positions):
        raise InputError(Fault("an example has no token to predict", "", f"{len(labels)} tokens"))
    return Example(np.asarray(example.input_ids)[:-1], positions - 1, labels[positions])


def continuation(source: Ints, target: Ints, model: LanguageModel) -> Example:
    """`target` to be written by a T5-like model that read `source`."""
    if not len(source) or not len(target):
        raise InputError(Fault("a T5-like model needs a source and a target", "", f"{len(source)}, {len(target)}"))
    ids = np.concatenate([[model.start_id], target[:-1]])
    return Example(ids, np.arange(len(target)), np.asarray(target, dtype=np.int64), source)


def collate(groups: Sequence[Sequence[Example]], model: LanguageModel) -> LmRows:
    """One batch of the groups' examples on the model's device, each group filled up to the largest one's rows."""
    rows, labels = collate_rows(groups, model.pad_id, model.device)
    return LmRows(rows, labels, _source(groups, model) if model.family == "encoder-decoder" else None)


def _source(groups: Sequence[Sequence[Example]], model: LanguageModel) -> EncoderRows:
    height = max(len(group) for group in groups)
    sources = [example.source for group in groups for example in group]
    width = max(len(source) for source in sources if source is not None)
    ids: NDArray[np.int64] = np.full((len(groups) * height, width), model.pad_id, dtype=np.int64)
    keep = np.zeros(ids.shape, dtype=np.bool_)
    keep[:, 0] = True
    for number, group in enumerate(groups):
        for row, example in enumerate(group, start=number * height):
            assert example.source is not None, "T5-like models read a source"
            ids[row, : len(example.source)] = example.source
            keep[row, : len(example.source)] = True
    return EncoderRows(torch.from_numpy(ids).to(model.device), torch.from_numpy(keep).to(model.device))
