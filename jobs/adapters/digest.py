"""Hashes by which an adapter is known: of its files, and of its tensors whatever file they are in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from jobs.adapters import adapterhub
from jobs.adapters.safe_paths import adapter_directory, inner_file
from jobs.adapters.tensor_files import raw_bytes
from jobs.adapters.weight_files import ADAPTERHUB_HEAD_WEIGHTS, ADAPTERHUB_WEIGHTS, PEFT_WEIGHTS
from jobs.files.digest import sha256

_WEIGHTS = (ADAPTERHUB_WEIGHTS, ADAPTERHUB_HEAD_WEIGHTS, PEFT_WEIGHTS)
_FILES = (adapterhub.CONFIG, adapterhub.HEAD_CONFIG, *(name for names in _WEIGHTS for name in names))
# A safetensors file is authoritative, so the pickle of the same tensors beside it says nothing more.
_SHADOWED = {pickle: safetensors for safetensors, pickle in _WEIGHTS}


def file_digests(path: Path | str) -> dict[str, str]:
    """sha256 of each file of an adapter directory that is read when the adapter is, by file name."""
    directory = adapter_directory(path)
    digests = {}
    for filename in sorted(_FILES):
        file = inner_file(directory, filename)
        shadow = _SHADOWED.get(filename)
        if file is not None and (shadow is None or not (directory / shadow).exists()):
            digests[filename] = sha256(file)
    return digests


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, dtypes, shapes and bytes in sorted order: the same for `.bin` and `.safetensors`."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        digest.update(raw_bytes(tensor))
    return digest.hexdigest()
