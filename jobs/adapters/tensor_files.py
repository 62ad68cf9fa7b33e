"""Read and write tensor files: memory-mapped, one tensor at a time, never running code from a file."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from jobs.adapters.safe_paths import inner_file
from jobs.arithmetic.tensors import TensorSpec, specs_of
from jobs.errors import Fault, InputError

# In the order in which the library lays out a file.
_SAFETENSORS_NAMES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


MAX_NAME = 500
MAX_HEADER = 100_000_000  # bytes; what the library itself takes


class SafetensorsFile(Mapping[str, Tensor]):
    """A safetensors file as a mapping; each tensor is a view of the memory-mapped file, made when asked for."""

    def __init__(self, path: Path) -> None:
        """Open `path`. Raises InputError when the file is truncated or malformed."""
        _check_header(path)
        try:
            self._file = cast(Any, safe_open)(str(path), framework="pt")
            self._names = dict.fromkeys(sorted(self._file.keys()))
        except (SafetensorError, OSError) as error:
            raise InputError(Fault("not a readable safetensors file", str(path), str(error)[:200])) from error

    def __getitem__(self, name: str) -> Tensor:
        """The tensor; its pages are read from disk only when its values are."""
        if name not in self._names:
            raise KeyError(name)
        tensor: Tensor = self._file.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        """Names in sorted order."""
        return iter(self._names)

    def __len__(self) -> int:
        """Number of tensors."""
        return len(self._names)


def _check_header(path: Path) -> None:
    """Raise InputError unless the header's length is possible: before a file that claims gigabytes is mapped."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
    except OSError as error:
        raise InputError(Fault("not a readable safetensors file", str(path), str(error)[:200])) from error
    if length > min(MAX_HEADER, path.stat().st_size - 8):
        raise InputError(Fault("not a readable safetensors file", str(path), f"a header of {length} bytes"))


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """Open `.safetensors` or a `torch.save` file of a state dict.

    Raises InputError for a damaged file, for a pickle that holds anything but tensors (no code in it is run),
    and for tensors that claim more bytes than the file has.
    """
    return SafetensorsFile(path) if path.suffix == ".safetensors" else _read_pickle(path)


def read_weights(directory: Path, filenames: Sequence[str]) -> Mapping[str, Tensor]:
    """As `read_tensors`, of the first of these files that `directory` has. Raises InputError when it has none."""
    for filename in filenames:
        path = inner_file(directory, filename)
        if path is not None:
            return read_tensors(path)
    raise InputError(Fault("no weights", str(directory), todo=f"one of {', '.join(filenames)} must be there"))


def check_tensors(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise InputError when there are no tensors, tensors without values, or names that are no plain text.

    Training under DeepSpeed ZeRO-3 leaves empty tensors in files that were saved without gathering the parameters.
    Names go into messages, so a stranger's file must not put line breaks or control characters there.
    """
    if not tensors:
        raise InputError(Fault("the adapter has no tensors", where))
    for name in tensors:
        if not name.isprintable() or len(name) > MAX_NAME:
            raise InputError(Fault("a tensor with an unusable name", where, ascii(name)[:80]))
    empty = [name for name, tensor in tensors.items() if tensor.numel() == 0]
    if empty:
        todo = "gather the parameters before saving (DeepSpeed ZeRO-3, FSDP)"
        raise InputError(Fault(f"{len(empty)} tensors hold no values", where, ", ".join(empty[:3]), todo))


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        # Memory mapping is possible for the zip layout alone; the older layout is read into memory.
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        todo = "it may run code when loaded; get the adapter as .safetensors"
        raise InputError(Fault("refused: the pickle holds more than tensors", str(path), todo=todo)) from error
    except Exception as error:
        # A damaged pickle can make the reader fail in any way at all.
        got = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InputError(Fault("not a readable torch.save file", str(path), got)) from error
    return _checked_state_dict(loaded, path)


def _checked_state_dict(loaded: object, path: Path) -> dict[str, Tensor]:
    if not isinstance(loaded, Mapping):
        raise InputError(Fault("not a state dict", str(path), type(loaded).__name__))
    limit = path.stat().st_size
    tensors: dict[str, Tensor] = {}
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise InputError(Fault("an entry is no tensor", f"{path}: {name!r}", type(value).__name__))
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise InputError(Fault("only plain dense tensors are supported", f"{path}: {name}", str(value.layout)))
        if value.numel() * value.element_size() > limit:
            # A stride of zero lets a few bytes claim terabytes.
            raise InputError(Fault("a tensor claims more bytes than its file has", f"{path}: {name}", str(value.shape)))
        tensors[name] = value.detach()
    return dict(sorted(tensors.items()))


def write_safetensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write `tensors` one after another, so that no more than one of them need exist at a time.

    The bytes depend on names, shapes, dtypes, values and `metadata` alone, and equal those of the safetensors
    library: entries are ordered by dtype and name. Raises InputError for a dtype the
    format lacks or a tensor unlike its spec.
    """
    specs = specs_of(tensors)
    for name, spec in specs.items():
        if spec.dtype not in _SAFETENSORS_NAMES:
            raise InputError(Fault("safetensors files of this kind cannot hold this dtype", name, str(spec.dtype)))
    dtypes = list(_SAFETENSORS_NAMES)
    order = sorted(specs, key=lambda name: (dtypes.index(specs[name].dtype), name))
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    offset = 0
    for name in order:
        header[name] = _entry(specs[name], offset)
        offset += specs[name].nbytes
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        for name in order:
            file.write(_raw_bytes(name, tensors[name], specs[name]))


def _entry(spec: TensorSpec, offset: int) -> dict[str, object]:
    return {
        "dtype": _SAFETENSORS_NAMES[spec.dtype],
        "shape": list(spec.shape),
        "data_offsets": [offset, offset + spec.nbytes],
    }


def _raw_bytes(name: str, tensor: Tensor, spec: TensorSpec) -> memoryview:
    if tuple(tensor.shape) != spec.shape or tensor.dtype != spec.dtype:
        raise InputError(Fault("a computed tensor is not as announced", name, str(tuple(tensor.shape)), str(spec)))
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return raw_bytes(flat)


def raw_bytes(tensor: Tensor) -> memoryview:
    """The values of a contiguous CPU tensor as bytes, without a copy."""
    array: Any = tensor.reshape(-1).view(torch.uint8).numpy() if tensor.numel() else b""
    return memoryview(array)


def write_pickle(safetensors_path: Path, path: Path) -> None:
    """Write the content of a safetensors file as a `torch.save` state dict, from the memory map.

    `adapters` looks for this file even when it is told to read the other. The bytes depend on the content and
    on the file's own name, so keep the name.
    """
    with path.open("wb") as file:
        torch.save(dict(SafetensorsFile(safetensors_path)), file)
