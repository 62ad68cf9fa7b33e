"""Raw text as blocks of token ids, cached on disk and memory-mapped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray

from jobs.data.load import describe, load_text
from jobs.errors import Fault, InputError
from jobs.spec import BackboneRef, DataRef, LanguageAdapterSpec, Objective, Split
from jobs.spec.identity import key_of
from jobs.tokens.ragged_file import Ids, RaggedFile, RaggedRows, write_ragged
from jobs.tokens.tokenizer import load_tokenizer, tokenizer_identity, unknown_ids

# Raised when the same text gives other blocks than before.
VERSION = 1
# A packed block of one token predicts nothing.
_SHORTEST = 2
_TEXTS_AT_ONCE = 1000
_LOG = logging.getLogger(__name__)


class TextBlocks(RaggedRows[Ids]):
    """Blocks of token ids: `[i]` is int32 [length <= max_length] with special tokens, a view of a mapped file.

    `unknown_share`: share of the text's own tokens that are unknown or single bytes; 0.05 and more says that the
    backbone hardly reads the script. `tokens`: the number of the text's own tokens. `lengths`: int64 [len],
    specials included.
    """

    def __init__(self, file: RaggedFile) -> None:
        """Wrap a file of blocks."""
        super().__init__(file)
        self.tokens = int(file.meta["tokens"])
        self.unknown_share = float(file.meta["unknown"]) / max(1, self.tokens)
        self.lengths: NDArray[np.int64] = file.lengths("ids")

    def _value(self, place: int) -> Ids:
        return self._file.row("ids", place)


def text_blocks(data: DataRef, split: Split, backbone: BackboneRef, max_length: int, cache: Path) -> TextBlocks:
    """The texts of a split as `<s> text </s> text </s> ...` blocks of `max_length` tokens.

    As in the published scripts, texts are joined and the stream is cut into blocks of equal length, so that
    short lines and long paragraphs alike fill them and a block costs no padding. Unlike there, every block begins
    with `<s>` and ends with `</s>`, and the last one, shorter, is kept. Raises InputError for a bad `max_length`
    and for data that yields no token.
    """
    return _kept("text", _joined, data, split, backbone, max_length, cache)


def packed_blocks(data: DataRef, split: Split, backbone: BackboneRef, max_length: int, cache: Path) -> TextBlocks:
    """The texts of a split as `text </s> text </s> ...`, for language models that predict every next token.

    A block begins with the tokenizer's begin token where it has one (Llama, Gemma; not Qwen, T5), as the backbone
    was trained; the last block is shorter. Tokens attend across the ends of texts inside their block, as in the
    libraries' own scripts. Raises InputError for a bad `max_length`, a tokenizer without end token, and data that
    yields no token.
    """
    cut = partial(_packed, name=backbone.name)
    return _kept("packed", cut, data, split, backbone, max_length, cache)


def blocks_for(
    objective: Objective, data: DataRef, split: Split, backbone: BackboneRef, max_length: int, cache: Path
) -> TextBlocks:
    """The blocks of one split as the objective wants them. Raises InputError for texts that cannot be read."""
    blocks = text_blocks if objective == "masked-lm" else packed_blocks
    return blocks(data, split, backbone, max_length, cache)


def corpus_blocks(spec: LanguageAdapterSpec, split: Split, cache: Path) -> TextBlocks:
    """The blocks of one split of a language's corpus. Raises InputError for texts that cannot be read."""
    return blocks_for(spec.objective, spec.corpus, split, spec.backbone, spec.training.max_length, cache)


# (tokens of each text, tokenizer, max_length) -> blocks.
_Cut = Callable[[Iterator[list[int]], Any, int], Iterator[list[int]]]


def _kept(
    name: str, cut: _Cut, data: DataRef, split: Split, backbone: BackboneRef, max_length: int, cache: Path
) -> TextBlocks:
    if max_length < 8:
        raise InputError(Fault("max_length must be at least 8", "max_length", str(max_length)))
    key = key_of(f"{name}_blocks", VERSION, data, split, tokenizer_identity(backbone), max_length)
    path = cache / "tokenized" / f"{name}-{data.language}-{split}-{key}.arrow"

    def build() -> None:
        meta = {"tokens": 0, "unknown": 0}
        texts = load_text(data, split, cache)
        tokenizer = load_tokenizer(backbone)
        blocks = cut(token_lists(texts, tokenizer, meta), tokenizer, max_length)
        write_ragged(path, ["ids"], ([block] for block in blocks), meta)

    blocks = TextBlocks(mapped(path, build))
    if not len(blocks):
        raise InputError(Fault(f"the {split} split yields no token", describe(data), todo="check its text column"))
    if blocks.unknown_share == 1.0 and _all_special(blocks, load_tokenizer(backbone)):
        what = f"the tokenizer of {backbone.name} does not know a single piece of the {split} split"
        todo = "nothing can be learned from it or scored on it: take a backbone that reads its script"
        raise InputError(Fault(what, describe(data), todo=todo))
    return blocks


def _all_special(blocks: TextBlocks, tokenizer: Any) -> bool:
    """Whether blocks hold nothing but special tokens, the unknown one among them; single bytes are pieces of text."""
    special = set(tokenizer.all_special_ids)
    return all(special.issuperset(block.tolist()) for block in blocks)


def mapped(path: Path, build: Callable[[], None]) -> RaggedFile:
    """The file at `path`; built first when it is absent, and anew when it is damaged (which is logged)."""
    if path.exists():
        try:
            return RaggedFile(path)
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            _LOG.warning("%s is damaged (%s) and is built anew", path.name, str(error).splitlines()[0])
    build()
    return RaggedFile(path)


def token_lists(texts: Sequence[str], tokenizer: Any, meta: dict[str, int]) -> Iterator[list[int]]:
    """The tokens of each text, without special tokens; counts them in `meta`."""
    unknown = unknown_ids(tokenizer)
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        batch = list(texts[start : start + _TEXTS_AT_ONCE])
        encoded = tokenizer(batch, add_special_tokens=False, return_attention_mask=False, verbose=False)
        for ids in encoded["input_ids"]:
            meta["tokens"] += len(ids)
            meta["unknown"] += sum(map(unknown.__contains__, ids))
            yield ids


def _joined(token_lists: Iterator[list[int]], tokenizer: Any, max_length: int) -> Iterator[list[int]]:
    begin, end = boundary_ids(tokenizer)
    block = [begin]
    for ids in token_lists:
        place = 0
        while place < len(ids):
            taken = ids[place : place + max_length - 1 - len(block)]
            block += [*taken, end]
            place += len(taken)
            # Less room than for one token and its </s>: the block is full.
            if len(block) > max_length - 2:
                yield block
                block = [begin]
    if len(block) > 1:
        yield block


def boundary_ids(tokenizer: Any) -> tuple[int, int]:
    """The ids before and after a text: <s> and </s> of RoBERTa's family, [CLS] and [SEP] of BERT's."""
    return int(tokenizer.cls_token_id), int(tokenizer.sep_token_id)


def _packed(lists: Iterator[list[int]], tokenizer: Any, max_length: int, name: str) -> Iterator[list[int]]:
    begin, end = _boundaries(tokenizer, name)
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
