"""The tokenizer of a backbone, loaded once per process and without the model."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import fields
from functools import lru_cache
from typing import Any

from jobs.pretrained import fast_tokenizer, located_files
from jobs.spec import IDENTITY, BackboneRef

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


def identity(value: Any) -> Any:
    """A spec's identity as JSON values: fields outside identity (see `jobs.spec.location`) are left out."""
    if hasattr(value, "__dataclass_fields__"):
        kept = [item for item in fields(value) if item.metadata.get(IDENTITY, True)]
        return {item.name: identity(getattr(value, item.name)) for item in kept}
    if isinstance(value, tuple | list):
        return [identity(item) for item in value]
    return value


def key_of(*values: Any) -> str:
    """32 hex digits that name the identity of `values`."""
    document = json.dumps([identity(value) for value in values], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(document.encode()).hexdigest()[:32]
