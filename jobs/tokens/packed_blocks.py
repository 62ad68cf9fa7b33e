"""Raw text as one stream of tokens in blocks, for language models that predict every next token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.data.load import describe, load_text
from jobs.errors import Fault, InputError
from jobs.spec import BackboneRef, DataRef, LanguageAdapterSpec, Split
from jobs.spec.identity import key_of
from jobs.tokens.ragged_file import write_ragged
from jobs.tokens.text_blocks import TextBlocks, mapped, text_blocks, token_lists
from jobs.tokens.tokenizer import load_tokenizer


def corpus_blocks(spec: LanguageAdapterSpec, split: Split, cache: Path) -> TextBlocks:
    """The blocks of one split as the objective wants them. Raises InputError for texts that cannot be read."""
    blocks = text_blocks if spec.objective == "masked-lm" else packed_blocks
    return blocks(spec.corpus, split, spec.backbone, spec.training.max_length, cache)


# Raised when the same text gives other blocks than before.
VERSION = 1
# A block of one token predicts nothing.
_SHORTEST = 2


def packed_blocks(data: DataRef, split: Split, backbone: BackboneRef, max_length: int, cache: Path) -> TextBlocks:
    """The texts of a split as `text </s> text </s> ...`, cut into blocks of `max_length` tokens.

    A block begins with the tokenizer's begin token where it has one (Llama, Gemma; not Qwen, T5), as the backbone
    was trained; the last block is shorter. Tokens attend across the ends of texts inside their block, as in the
    libraries' own scripts. Raises InputError for a bad `max_length`, a tokenizer without end token, and data that
    yields no token.
    """
    if max_length < 8:
        raise InputError(Fault("max_length must be at least 8", "max_length", str(max_length)))
    key = key_of("packed_blocks", VERSION, data, split, backbone, max_length)
    path = cache / "tokenized" / f"packed-{data.language}-{split}-{key}.arrow"

    def build() -> None:
        meta = {"tokens": 0, "unknown": 0}
        texts = load_text(data, split, cache)
        tokenizer = load_tokenizer(backbone)
        begin, end = _boundaries(tokenizer, backbone.name)
        blocks = _blocks(token_lists(texts, tokenizer, meta), begin, end, max_length)
        write_ragged(path, ["ids"], ([block] for block in blocks), meta)

    blocks = TextBlocks(mapped(path, build))
    if not len(blocks):
        raise InputError(Fault(f"the {split} split yields no token", describe(data), todo="check its text column"))
    return blocks


def _blocks(lists: Iterator[list[int]], begin: list[int], end: int, max_length: int) -> Iterator[list[int]]:
    block = list(begin)
    for ids in lists:
        rest = [*ids, end]
        while rest:
            room = max_length - len(block)
            block += rest[:room]
            rest = rest[room:]
            if len(block) == max_length:
                yield block
                block = list(begin)
    if len(block) >= max(_SHORTEST, len(begin) + 1):
        yield block


def _boundaries(tokenizer: Any, name: str) -> tuple[list[int], int]:
    """What stands before a block, if anything, and after a text."""
    if tokenizer.eos_token_id is None:
        raise InputError(Fault("the tokenizer has no end token", f"backbone {name}", "", "save it with an eos_token"))
    adds = tokenizer("")["input_ids"][:1]
    begins = tokenizer.bos_token_id is not None and adds == [tokenizer.bos_token_id]
    return [tokenizer.bos_token_id] if begins else [], int(tokenizer.eos_token_id)
