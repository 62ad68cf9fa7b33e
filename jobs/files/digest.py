"""Digests of files, and of a local directory: what pins a backbone that has no commit; pointers that are no files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from jobs.errors import Fault, InputError

DIGEST_PREFIX = "sha256:"
COMMIT = re.compile(r"[0-9a-f]{40}")  # of a repository on a hub
_CHUNK = 1 << 20
_POINTER = b"version https://git-lfs.github.com/spec/"


def directory_digest(path: Path | str) -> str:
    """ "sha256:..." over the relative names and contents of all files below `path`, in sorted order.

    Hidden files, Python's caches and pages for people (*.md) do not count. Files are streamed. Raises InputError when
    `path` is no directory.
    """
    directory = Path(path)
    if not directory.is_dir():
        raise InputError(Fault("not a directory", str(path)))
    digest = hashlib.sha256()
    for file in _digested_files(directory):
        name = file.relative_to(directory).as_posix().encode()
        digest.update(len(name).to_bytes(8, "little") + name + file.stat().st_size.to_bytes(8, "little"))
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    return DIGEST_PREFIX + digest.hexdigest()


def lfs_pointer(file: Path, where: str) -> Fault | None:
    """The fault of a file that git-lfs left as a pointer of three lines in place of its content; None of any other."""
    with file.open("rb") as stream:
        if stream.read(len(_POINTER)) != _POINTER:
            return None
    todo = "run `git lfs pull` where it was cloned, or download the file itself"
    return Fault("a git-lfs pointer stands in place of the file", where, todo=todo)


def sha256(file: Path) -> str:
    """Sha256 of one file's bytes, 64 hex digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_state(path: Path) -> tuple[int, int, int, int]:
    """What differs where a file's bytes differ: its size, its number on the disk, its times of writing and of change.

    The last one, in nanoseconds, is the system's own: unlike the time of writing no archive and no copy can set it.
    Raises OSError when there is no such file.
    """
    status = path.stat()
    return status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns


def folder_digests(folder: Path) -> dict[str, tuple[str, int]]:
    """Path inside `folder` -> (sha256, bytes) of every file, in sorted order."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): (sha256(file), file.stat().st_size) for file in files}


def _digested_files(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.rglob("*"), key=lambda path: path.relative_to(directory).as_posix()):
        parts = path.relative_to(directory).parts
        hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if path.is_file() and not hidden and path.suffix != ".md":
            yield path
