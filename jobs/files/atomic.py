"""Files that are there whole or not at all, and stay after a power cut."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _mode() -> int:
    """The permissions of a new file. The mask can only be read by being set: once, before there are threads."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


_MODE = _mode()


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path beside `file` to write; at the end it is brought to disk and takes `file`'s name.

    After an error `file` is as it was and nothing lies beside it. Writers may race: each has its own path.
    """
    tmp = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        yield tmp
        tmp.chmod(_MODE)  # libraries make files that nobody else may read
        sync(tmp)
        tmp.replace(file)
    finally:
        tmp.unlink(missing_ok=True)


def write_bytes(file: Path, content: bytes) -> None:
    """Write or replace a file; its directory is made where it is not there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as tmp:
        tmp.write_bytes(content)


def write_text(file: Path, text: str) -> None:
    """As `write_bytes`, in UTF-8."""
    write_bytes(file, text.encode())


def sync(path: Path) -> None:
    """Bring a file, or the names in a directory, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
