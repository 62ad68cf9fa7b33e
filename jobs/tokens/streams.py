"""What a language shows the backbone: the batch of each number, drawn from its own random stream.

Everything is drawn from (seed, language, number): a stream depends on no other language and on no history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jobs.models.language_model import LanguageModel
from jobs.spec import Objective
from jobs.tokens.batches import BatchOrder, Example, Ints
from jobs.tokens.evaluation_sets import MASK_SEED
from jobs.tokens.lm_batches import continuation
from jobs.tokens.masking import MaskVocabulary, fixed_mask, mask


@dataclass(frozen=True, slots=True)
class Examples:
    """What an objective makes of a block: `anew` in training, by a batch's generator; `fixed` in every evaluation.

    `fixed` is given the block's number too: it is the same for every system that is compared.
    """

    anew: Callable[[Ints, np.random.Generator], Example]
    fixed: Callable[[Ints, int], Example]


def masked_lm(probability: float, vocabulary: MaskVocabulary) -> Examples:
    """A share of the tokens is hidden, other ones every time (arXiv 1810.04805)."""
    return Examples(
        lambda block, rng: Example(*mask(block, probability, rng, vocabulary)),
        lambda block, index: Example(*fixed_mask(block, probability, MASK_SEED, index, vocabulary)),
    )


def causal_lm() -> Examples:
    """Every token but the first is predicted from those before it."""
    return Examples(lambda block, _: causal(block), lambda block, _: causal(block))


def prefix_lm(model: LanguageModel) -> Examples:
    """A block is cut at a random place, and its second part is predicted (arXiv 1910.10683, section 3.2.1).

    A decoder reads both parts and the first counts for nothing (it is read from left to right, as always); a T5-like
    model reads the first part with its encoder and writes the second.
    """
    return Examples(
        lambda block, rng: with_prefix(block, rng, model),
        lambda block, index: with_prefix(block, np.random.default_rng([MASK_SEED, index]), model),
    )


def examples_of(objective: Objective, probability: float, model: LanguageModel) -> Examples:
    """What a language model is shown; `probability`: that masked LM hides a token."""
    match objective:
        case "masked-lm":
            return masked_lm(probability, MaskVocabulary.of_tokenizer(model.tokenizer))
        case "causal-lm":
            return causal_lm()
        case "prefix-lm":
            return prefix_lm(model)


@dataclass(frozen=True, slots=True)
class Stream:
    """The batches of one language: blocks in their order, made examples as the objective wants them."""

    blocks: Sequence[Ints]
    order: BatchOrder
    examples: Examples
    dropout: float = 0.0

    def batch(self, number: int) -> list[Example]:
        """The batch `number`, counted from 0."""
        rng = self.order.rng(number)
        examples = [self.examples.anew(self.blocks[row], rng) for row in self.order[number].tolist()]
        return self.order.dropped(examples, number, self.dropout)

    def held_out(self, blocks: Sequence[Ints], most: int) -> list[Example]:
        """The first `most` (0: all) of other `blocks`, prepared as every evaluation prepares them."""
        return [self.examples.fixed(blocks[row], row) for row in range(min(most or len(blocks), len(blocks)))]


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
