"""The texts of a language adapter as the blocks that it is trained on: tokenized once, then read from the cache."""

from __future__ import annotations

from pathlib import Path

from jobs.data.packed import packed_blocks
from jobs.data.tokenized import TextBlocks, text_blocks
from jobs.spec import LanguageAdapterSpec, Split


def corpus_blocks(spec: LanguageAdapterSpec, split: Split, cache: Path) -> TextBlocks:
    """The blocks of one split as the objective wants them. Raises InputError for texts that cannot be read."""
    blocks = text_blocks if spec.objective == "masked-lm" else packed_blocks
    return blocks(spec.corpus, split, spec.backbone, spec.training.max_length, cache)
