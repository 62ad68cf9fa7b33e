"""Adapter directories of any known format, which their configuration tells, and the hashes that they are known by."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from jobs.adapters import adapterhub
from jobs.adapters import peft as peft_format
from jobs.adapters.adapter import Adapter, Format
from jobs.adapters.safe_paths import (
    ADAPTERHUB_HEAD_WEIGHTS,
    ADAPTERHUB_WEIGHTS,
    CONFIG,
    HEAD_CONFIG,
    PEFT_WEIGHTS,
    adapter_directory,
    adapter_files,
    inner_file,
    read_json,
)
from jobs.adapters.tensor_files import raw_bytes
from jobs.errors import Fault, InputError
from jobs.files.digest import sha256
from jobs.runtime.phases import phase

_READERS: dict[Format, Callable[[Path | str], Adapter]] = {
    "adapterhub": adapterhub.read_adapter,
    "peft": peft_format.read_adapter,
}
_WRITERS = {"adapterhub": adapterhub.write_adapter, "peft": peft_format.write_adapter}


def read_adapter(path: Path | str) -> Adapter:
    """Read an AdapterHub or a PEFT directory. Raises InputError with what is wrong and what to do."""
    return _READERS[adapter_format(path)](path)


def is_adapter(path: Path) -> bool:
    """Whether `path` is the directory of an adapter."""
    return (path / CONFIG).is_file()


def adapter_format(path: Path | str) -> Format:
    """The format of an adapter's directory. Raises InputError when it is neither."""
    _, config_path = adapter_files(path)
    document = read_json(config_path)
    if "peft_type" in document:
        return "peft"
    if "config" in document:
        return "adapterhub"
    todo = "AdapterHub files have `config`, PEFT files have `peft_type`"
    raise InputError(Fault("neither an AdapterHub nor a PEFT configuration", str(config_path), todo=todo))


@phase("writing")
def write_adapter(adapter: Adapter, path: Path | str) -> None:
    """Write the adapter in its own format; `path` is created when absent."""
    _WRITERS[adapter.format](adapter, path)


_WEIGHTS = (ADAPTERHUB_WEIGHTS, ADAPTERHUB_HEAD_WEIGHTS, PEFT_WEIGHTS)
_FILES = (CONFIG, HEAD_CONFIG, *(name for names in _WEIGHTS for name in names))
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
