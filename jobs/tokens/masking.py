"""Which tokens masked LM hides, and by what (BERT, arXiv 1810.04805, section 3.1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of the chosen tokens: this share becomes the mask token, and the share up to the second bound a random token.
MASKED, REPLACED = 0.8, 0.9


@dataclass(frozen=True, slots=True, eq=False)
class MaskVocabulary:
    """What masking must know of a tokenizer. `special`: bool [size]; `ordinary`: the ids that are not special."""

    mask_id: int
    special: NDArray[np.bool_]
    ordinary: NDArray[np.int64]

    @classmethod
    def of(cls, size: int, mask_id: int, special_ids: Iterable[int]) -> MaskVocabulary:
        """A vocabulary of `size` tokens."""
        special = np.zeros(size, dtype=np.bool_)
        special[list(special_ids)] = True
        return cls(mask_id, special, np.flatnonzero(~special))

    @classmethod
    def of_tokenizer(cls, tokenizer: Any) -> MaskVocabulary:
        """The vocabulary of a `transformers` tokenizer."""
        return cls.of(len(tokenizer), tokenizer.mask_token_id, tokenizer.all_special_ids)


def mask(
    ids: NDArray[np.integer[Any]], mask_probability: float, rng: np.random.Generator, vocabulary: MaskVocabulary
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(masked ids [n], positions [m], labels [m]) of one block of n ids.

    Each token that is not special is chosen with `mask_probability`, at least one where there is any. A chosen
    token becomes the mask token (80 %), a random ordinary token (10 %) or stays (10 %); its own id is the label.
    """
    original = np.asarray(ids, dtype=np.int64)
    eligible = np.flatnonzero(~vocabulary.special[original])
    # Every draw is made for every eligible token, so that equal seeds give equal streams.
    chances, kinds = rng.random((2, len(eligible)))
    others = vocabulary.ordinary[rng.integers(len(vocabulary.ordinary), size=len(eligible))]
    chosen = chances < mask_probability
    if len(eligible) and not chosen.any():
        chosen[np.argmin(chances)] = True
    positions, kinds, others = eligible[chosen], kinds[chosen], others[chosen]
    labels = original[positions]
    masked = original.copy()
    replaced = np.where(kinds < REPLACED, others, labels)
    masked[positions] = np.where(kinds < MASKED, vocabulary.mask_id, replaced)
    return masked, positions, labels


def fixed_mask(
    ids: NDArray[np.integer[Any]], mask_probability: float, seed: int, index: int, vocabulary: MaskVocabulary
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """`mask` with randomness from (seed, index) alone: the same for every system that is compared."""
    return mask(ids, mask_probability, np.random.default_rng([seed, index]), vocabulary)
