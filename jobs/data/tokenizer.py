"""The tokenizer of a backbone, loaded once per process and without the model."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from jobs.errors import Fault, InputError
from jobs.hub_models import hub_folder
from jobs.spec import IDENTITY, BackboneRef

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


@lru_cache(maxsize=8)
def _load(source: str, revision: str) -> Any:
    folder = Path(source) if Path(source).is_dir() else hub_folder(source, revision, weights=False)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError) as error:
        got = (str(error).splitlines() or [type(error).__name__])[0][:200]
        todo = "give a directory written by save_pretrained, or a name on the hub with a commit"
        raise InputError(Fault("no tokenizer", f"backbone {source}", got, todo)) from error
    if not tokenizer.is_fast:
        raise InputError(Fault("no fast tokenizer", f"backbone {source}", todo="save tokenizer.json beside the model"))
    return tokenizer


def load_tokenizer(ref: BackboneRef) -> Any:
    """The fast tokenizer of `ref`, shared: do not change it. Raises InputError when there is none."""
    return _load(ref.path or ref.name, ref.revision)


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
