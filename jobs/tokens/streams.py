"""What a language shows the backbone: the batch of each number, drawn from its own random stream.

Everything is drawn from (seed, language, number): a stream depends on no other language and on no history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from jobs.models.language_model import LanguageModel
from jobs.tokens.batches import BatchOrder, Example, Ints, held_out, masked_batch
from jobs.tokens.evaluation_sets import MASK_SEED
from jobs.tokens.lm_batches import continuation
from jobs.tokens.masking import MaskVocabulary


class Stream(Protocol):
    """The batches of one language."""

    def batch(self, number: int) -> list[Example]:
        """The batch `number`, counted from 0."""

    def held_out(self, blocks: Sequence[Ints], most: int) -> list[Example]:
        """The first `most` of other `blocks`, prepared as every evaluation prepares them."""


@dataclass(frozen=True, slots=True)
class MaskedStream:
    """Masked LM: a share of the tokens is hidden, other ones every time (arXiv 1810.04805)."""

    blocks: Sequence[Ints]
    order: BatchOrder
    probability: float
    vocabulary: MaskVocabulary
    dropout: float = 0.0

    def batch(self, number: int) -> list[Example]:
        """The batch `number`, masked anew."""
        examples = masked_batch(self.blocks, self.order, number, self.probability, self.vocabulary)
        return self.order.dropped(examples, number, self.dropout)

    def held_out(self, blocks: Sequence[Ints], most: int) -> list[Example]:
        """With fixed masks."""
        return held_out(blocks, most, self.probability, self.vocabulary)


@dataclass(frozen=True, slots=True)
class CausalStream:
    """Causal LM: every token but the first is predicted from those before it."""

    blocks: Sequence[Ints]
    order: BatchOrder
    dropout: float = 0.0

    def batch(self, number: int) -> list[Example]:
        """The batch `number`."""
        examples = [causal(self.blocks[row]) for row in self.order[number].tolist()]
        return self.order.dropped(examples, number, self.dropout)

    def held_out(self, blocks: Sequence[Ints], most: int) -> list[Example]:
        """As they are."""
        return [causal(blocks[row]) for row in range(min(most, len(blocks)))]


@dataclass(frozen=True, slots=True)
class PrefixStream:
    """Prefix LM: a block is cut at a random place, and its second part is predicted (arXiv 1910.10683, section 3.2.1).

    A decoder reads both parts and the first counts for nothing (it is read from left to right, as always); a T5-like
    model reads the first part with its encoder and writes the second.
    """

    blocks: Sequence[Ints]
    order: BatchOrder
    model: LanguageModel
    dropout: float = 0.0

    def batch(self, number: int) -> list[Example]:
        """The batch `number`, cut anew."""
        rng = self.order.rng(number)
        examples = [with_prefix(self.blocks[row], rng, self.model) for row in self.order[number].tolist()]
        return self.order.dropped(examples, number, self.dropout)

    def held_out(self, blocks: Sequence[Ints], most: int) -> list[Example]:
        """With fixed cuts."""
        return [fixed_prefix(blocks[row], row, self.model) for row in range(min(most, len(blocks)))]


def causal(block: Ints) -> Example:
    """All of a block but its first token is predicted."""
    ids = np.asarray(block, dtype=np.int64)
    return Example(ids[:-1], np.arange(len(ids) - 1), ids[1:])


def with_prefix(block: Ints, rng: np.random.Generator, model: LanguageModel) -> Example:
    """The part of a block after a place that is drawn uniformly is predicted from the part before; neither is empty."""
    ids = np.asarray(block, dtype=np.int64)
    cut = int(rng.integers(1, len(ids)))
    if model.family == "encoder-decoder":
        return continuation(np.append(ids[:cut], model.tokenizer.eos_token_id), ids[cut:], model)
    return Example(ids[:-1], np.arange(cut - 1, len(ids) - 1), ids[cut:])


def fixed_prefix(block: Ints, index: int, model: LanguageModel) -> Example:
    """`with_prefix` cut where every system that is compared cuts the block `index`."""
    return with_prefix(block, np.random.default_rng([MASK_SEED, index]), model)
