"""Identity: canonical JSON -> sha256; fields that say where something lies have none."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Hashable, Mapping
from dataclasses import MISSING, field, fields, is_dataclass
from functools import lru_cache
from json.encoder import encode_basestring as _text
from typing import Any, cast


def identity(value: Any) -> Any:
    """A spec's identity as JSON values: fields outside identity (see `jobs.spec.identity.location`) are left out."""
    if hasattr(value, "__dataclass_fields__"):
        kept = [item for item in fields(value) if item.metadata.get(IDENTITY, True)]
        return {
            item.name: identity(getattr(value, item.name))
            for item in kept
            if LATER not in item.metadata or getattr(value, item.name) != item.default
        }
    if isinstance(value, tuple | list):
        return [identity(item) for item in value]
    return value


def key_of(*values: Any) -> str:
    """32 hex digits that name the identity of `values`."""
    document = json.dumps([identity(value) for value in values], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(document.encode()).hexdigest()[:32]


IDENTITY, LATER = "identity", "later"


def location(default: Any = "") -> Any:
    """A field outside identity: a path or address, not a part of what is computed."""
    return field(default=default, compare=False, metadata={IDENTITY: False})


def later(default: Any) -> Any:
    """A field that an earlier version did not have: at its default, which means what was before, no key has it.

    Fingerprints leave every default out; checkpoints and tokenized texts, whose keys are of `key_of`, only these.
    """
    return field(default=default, metadata={LATER: True})


def fingerprint(payload: Mapping[str, Any]) -> str:
    """Sha256 (64 hex digits) of the payload's canonical JSON."""
    return hashlib.sha256(canonical_json(payload).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """One text for one meaning: sorted keys, no spaces, defaults and locations left out.

    Raises TypeError for types, and ValueError for numbers, that have no stable identity.
    """
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return "{" + ",".join([f"{_text(_key(k))}:{canonical_json(value[k])}" for k in sorted(value)]) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(canonical_json, value)) + "]"
    if is_dataclass(value) and not isinstance(value, type):
        return _dataclass_json(cast(Hashable, value))
    return _number(value)


@lru_cache(maxsize=10_000)
def _dataclass_json(value: Hashable) -> str:
    parts = []
    for name, label, default in _identity_fields(type(value)):
        content = getattr(value, name)
        if default is MISSING or content != default:
            parts.append(label + canonical_json(content))
    return "{" + ",".join(parts) + "}"


@lru_cache(maxsize=1000)
def _identity_fields(made_of: Any) -> tuple[tuple[str, str, Any], ...]:
    """(name, its JSON with a colon, default) of the fields that enter identity, by name."""
    chosen = [item for item in fields(made_of) if item.metadata.get(IDENTITY, True)]
    return tuple((item.name, f"{_text(item.name)}:", item.default) for item in sorted(chosen, key=lambda f: f.name))


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key of an identity must be text, not {type(key).__name__}: {key!r}")
    return key


def _number(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return int.__repr__(value)
    if not isinstance(value, float):
        raise TypeError(f"{type(value).__name__} has no stable identity: {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{value!r} has no stable identity")
    return int.__repr__(int(value)) if value.is_integer() else float.__repr__(value)
