"""The tokenizer of a backbone, loaded once per process and without the model."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from jobs.models.files import fast_tokenizer, located_files
from jobs.spec import BackboneRef

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


@lru_cache(maxsize=8)
def load_tokenizer(ref: BackboneRef) -> Any:
    """The fast tokenizer of `ref`, shared: do not change it. Raises InputError when there is none."""
    return fast_tokenizer(located_files(ref, weights=False))


def unknown_ids(tokenizer: Any) -> frozenset[int]:
    """Ids that stand for no known piece of text: the unknown token, and single bytes (`<0xE0>`)."""
    return frozenset(
        i for token, i in tokenizer.get_vocab().items() if _BYTE.fullmatch(token) or i == tokenizer.unk_token_id
    )
