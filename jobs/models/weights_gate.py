"""Which files a model directory's weights lie in, and what their headers say: read as plain data before any library.

An index may name any file, outside the directory too and a pickle too; transformers takes it at its word, and takes
tensors that it names for there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from jobs.errors import Fault, InputError, raise_all
from jobs.models.config_gate import json_object

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
# Names that the directory's digest covers: in no folder, and not hidden.
_SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors")
_LONGEST_HEADER = 100_000_000  # bytes; what the library itself takes
_ANEW = "copy the directory anew, or write it with save_pretrained"


def weight_files(folder: Path, named: str) -> tuple[Path, ...]:
    """The safetensors files that a library loads from `folder`, all of them in it; empty where there are none.

    `named` is what faults call the directory. Raises InputError for an index that names anything else.
    """
    return _files(folder, f"backbone {named}")[0]


def stored_shapes(folder: Path, named: str) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor by name, as the files' headers have it; empty where there are no weights.

    Raises InputError as `weight_files`, for files that are damaged or cut off, and for tensors of an index that they
    lack.
    """
    where, faults = f"backbone {named}", list[Fault]()
    shapes: dict[str, tuple[int, ...]] = {}
    files, index = _files(folder, where)
    for file in files:
        try:
            shapes |= _header(file, f"{where}: {file.name}")
        except InputError as damage:
            faults += damage.faults
    raise_all(faults)
    if lost := sorted(set(index) - set(shapes)):
        got = f"{len(lost)} tensors, e.g. {lost[0][:80]}"
        raise InputError(Fault("the index names tensors that the files lack", f"{where}: {INDEX}", got, _ANEW))
    return shapes


def _files(folder: Path, where: str) -> tuple[tuple[Path, ...], Mapping[str, str]]:
    """(the files that a library loads, the index that names them: tensor -> file, empty where there is none)."""
    if (folder / WEIGHTS).is_file():
        return (folder / WEIGHTS,), {}
    index = _index(folder, where)
    return tuple(folder / name for name in sorted(set(index.values()))), index


def _index(folder: Path, where: str) -> Mapping[str, str]:
    """Tensor -> file of an index; empty where there is none."""
    faults: list[Fault] = []
    index = json_object(folder / INDEX, where, faults)
    raise_all(faults)
    if index is None:
        return {}
    place, names = f"{where}: {INDEX}", index.get("weight_map")
    if not isinstance(names, dict) or not isinstance(index.get("metadata"), dict):
        raise InputError(Fault("not an index of weights: it lacks weight_map or metadata", place, todo=_ANEW))
    for file in sorted({str(file) for file in names.values()}):
        if not _SHARD.fullmatch(file):
            todo = "weights are .safetensors files beside the index"
            faults.append(Fault("the index names a file that is not read", place, json.dumps(file)[:120], todo))
        elif not (folder / file).is_file():
            faults.append(Fault("the index names a file that is not there", place, file, _ANEW))
    raise_all(faults)
    return {str(name): str(file) for name, file in names.items()}


def _header(file: Path, where: str) -> dict[str, tuple[int, ...]]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        text = stream.read(length) if length <= min(size - 8, _LONGEST_HEADER) else b""
    try:
        entries = json.loads(text.decode("utf-8"))
        entries.pop("__metadata__", None)
        shapes = {str(name): tuple(map(int, entry["shape"])) for name, entry in entries.items()}
        end = 8 + length + max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise InputError(Fault("not a readable safetensors file", where, f"{size:,} bytes", _ANEW)) from error
    if end > size:
        raise InputError(Fault("the file is cut off", where, f"{size:,} of {end:,} bytes", _ANEW))
    return shapes
