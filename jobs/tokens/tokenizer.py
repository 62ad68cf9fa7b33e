"""The tokenizer of a backbone, loaded once per process and without the model."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from jobs.models.files import fast_tokenizer, located_files, shared_tokenizer, tokenizer_files
from jobs.spec import BackboneRef

# Spaces, capitals, marks, digits and scripts: what normalizers, splitters and tables of pieces differ in.
PROBE = "Ünïted  Nations\u00a0№ 1,234.5 — don't; e\u0301cole ½ ﬁn Straße İstanbul\tשלום 日本語 ภาษา हिन्दी 👍🏽 <s>\n"
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


@lru_cache(maxsize=8)
def load_tokenizer(ref: BackboneRef) -> Any:
    """The fast tokenizer of `ref`, shared: do not change it.

    Raises InputError when there is none, and for files that are not the pinned revision: what they make of texts would
    be kept under its name.
    """
    return shared_tokenizer(tokenizer_files(ref))


@lru_cache(maxsize=8)
def word_tokenizer(ref: BackboneRef) -> Any:
    """The tokenizer of `ref` for texts that come as words: what makes pieces of bytes puts a space before each of them,
    as running text has it, whether or not it was saved to do so at the start of a text.
    """
    tokenizer = load_tokenizer(ref)
    if spaced_words(tokenizer):
        return tokenizer
    return fast_tokenizer(located_files(ref, weights=False), add_prefix_space=True)


def spaced_words(tokenizer: Any) -> bool:
    """Whether words that are given one by one get the pieces that they have in running text."""
    splitter = tokenizer.backend_tokenizer.pre_tokenizer
    told = json.loads(splitter.__getstate__()) if splitter is not None else {}
    return told.get("type") != "ByteLevel" or bool(told["add_prefix_space"])


@lru_cache(maxsize=8)
def tokenizer_identity(ref: BackboneRef) -> tuple[str, ...]:
    """What the ids of a text depend on: the pinned files, the library that reads them, and the ids of a probe."""
    ids = load_tokenizer(ref)(PROBE, verbose=False)["input_ids"]
    return ref.name, ref.revision, version("tokenizers"), version("transformers"), " ".join(map(str, ids))


def unknown_ids(tokenizer: Any) -> frozenset[int]:
    """Ids that stand for no known piece of text: the unknown token, and single bytes (`<0xE0>`)."""
    unknown = {tokenizer.unk_token_id} - {None}  # the library looks it up anew each time it is asked
    return frozenset(unknown.union(i for token, i in tokenizer.get_vocab().items() if _BYTE.fullmatch(token)))
