"""The tokenizer of a backbone, loaded once per process and without the model."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from jobs.models.files import fast_tokenizer, located_files
from jobs.spec import BackboneRef

# Spaces, capitals, marks, digits and scripts: what normalizers, splitters and tables of pieces differ in.
PROBE = "Ünïted  Nations\u00a0№ 1,234.5 — don't; e\u0301cole ½ ﬁn Straße İstanbul\tשלום 日本語 ภาษา हिन्दी 👍🏽 <s>\n"
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


@lru_cache(maxsize=8)
def load_tokenizer(ref: BackboneRef) -> Any:
    """The fast tokenizer of `ref`, shared: do not change it. Raises InputError when there is none."""
    return fast_tokenizer(located_files(ref, weights=False))


@lru_cache(maxsize=8)
def tokenizer_identity(ref: BackboneRef) -> tuple[str, ...]:
    """What the ids of a text depend on: the pinned files, the library that reads them, and the ids of a probe."""
    ids = load_tokenizer(ref)(PROBE)["input_ids"]
    return ref.name, ref.revision, version("tokenizers"), version("transformers"), " ".join(map(str, ids))


def unknown_ids(tokenizer: Any) -> frozenset[int]:
    """Ids that stand for no known piece of text: the unknown token, and single bytes (`<0xE0>`)."""
    return frozenset(
        i for token, i in tokenizer.get_vocab().items() if _BYTE.fullmatch(token) or i == tokenizer.unk_token_id
    )
