"""Files of an adapter directory: what they are called, and opened only when they really lie inside it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from jobs.errors import Fault, InputError
from jobs.files.digest import COMMIT, lfs_pointer

CONFIG = "adapter_config.json"
HEAD_CONFIG = "head_config.json"
MAX_CONFIG_BYTES = 16 * 2**20


def adapter_directory(path: Path | str) -> Path:
    """The directory itself. Raises InputError when it does not exist or is not a directory."""
    directory = Path(path)
    if not directory.is_dir():
        got = "a file" if directory.exists() else "nothing there"
        raise InputError(Fault("not an adapter directory", str(path), got, "give the directory of one adapter"))
    return directory


def adapter_files(path: Path | str) -> tuple[Path, Path]:
    """The directory, and its configuration file. Raises InputError when either is not there."""
    directory = adapter_directory(path)
    config_path = inner_file(directory, CONFIG)
    if config_path is None:
        raise InputError(Fault(f"no {CONFIG}", str(path), todo="give the directory of one adapter"))
    return directory, config_path


def inner_file(directory: Path, filename: str) -> Path | None:
    """`directory/filename` when it exists, else None.

    Raises InputError when the file resolves to a place outside the directory (a symbolic link, `..`), or is
    no regular file: a directory that was downloaded must not be able to name other files of this machine. In the cache
    of `huggingface_hub` files are links to the blobs of the same repository, and those it may name.
    """
    path = directory / filename
    if not path.exists() and not path.is_symlink():
        return None
    real, inside = path.resolve(), directory.resolve()
    if not real.is_relative_to(inside) and not (real.parent == _blobs(inside) and _BLOB.fullmatch(real.name)):
        raise InputError(Fault("points outside its directory", str(path), str(real), "copy the real file into place"))
    if not path.is_file():
        raise InputError(Fault("not a regular file", str(path)))
    if fault := lfs_pointer(path, str(path)):
        raise InputError(fault)
    return path


# What huggingface_hub calls a blob: the file's sha1 in git, or its sha256 in LFS.
_BLOB = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def _blobs(directory: Path) -> Path | None:
    """Of a snapshot in huggingface_hub's cache, `models--OWNER--NAME/snapshots/COMMIT` or a folder of it, its blobs."""
    for snapshot in (directory, *directory.parents):
        snapshots, repository = snapshot.parent, snapshot.parent.parent
        if snapshots.name == "snapshots" and COMMIT.fullmatch(snapshot.name):
            return repository / "blobs" if repository.name.startswith("models--") else None
    return None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`. Raises InputError when it is too large, malformed or not an object."""
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise InputError(Fault("too large for a configuration", str(path), f"{path.stat().st_size} bytes"))
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(Fault("not valid JSON", str(path), str(error).splitlines()[0])) from error
    if not isinstance(document, dict):
        raise InputError(Fault("not a JSON object", str(path), type(document).__name__))
    return document


def write_json(document: Mapping[str, Any], path: Path) -> None:
    """Equal documents give equal bytes."""
    path.write_text(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def checked_name(name: object, where: str) -> str:
    """`name` when it can serve as an adapter's name: what `adapters` takes, of at most 100 characters.

    A name becomes part of module paths (no dots) and of messages (no control characters), never of a file's path;
    `*` stands for it in tensors' names. Raises InputError otherwise.
    """
    usable = isinstance(name, str) and 0 < len(name) <= 100 and name.isprintable() and not set(name) & {".", "*"}
    if not isinstance(name, str) or not usable:
        todo = "use up to 100 letters without dots and *"
        raise InputError(Fault("not a usable adapter name", where, repr(name)[:80], todo))
    return name


# Of each format in the order of authority: the safetensors file, then the pickle of the same tensors.
ADAPTERHUB_WEIGHTS = ("adapter.safetensors", "pytorch_adapter.bin")
ADAPTERHUB_HEAD_WEIGHTS = ("model_head.safetensors", "pytorch_model_head.bin")
PEFT_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def weights_file(names: Collection[str]) -> str:
    """The one of a directory's file `names` that says what the adapter's weights are; "" where there is none.

    A prediction head lies in a file of its own and is not meant.
    """
    return next((name for name in (*ADAPTERHUB_WEIGHTS, *PEFT_WEIGHTS) if name in names), "")


def is_peft(names: Collection[str]) -> bool:
    """Whether a directory with these file `names` holds an adapter that PEFT loads."""
    return weights_file(names) in PEFT_WEIGHTS
