"""Hashes of data files, remembered by path, size and times of change. Imports no torch and no datasets."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

from jobs.files.atomic import write_text
from jobs.files.digest import DIGEST_PREFIX, file_state, sha256

# A file that changed within this many nanoseconds may change again without a new time stamp: not cached.
_UNSETTLED_NS = 2_000_000_000


def file_digest(path: Path, cache: Path) -> str:
    """ "sha256:..." of a file's bytes, remembered in `cache` by path and `file_state`.

    Raises OSError when the file cannot be read.
    """
    place, found = str(path.resolve()), file_state(path)
    state = [place, *found]
    entry = cache / "digests" / f"{hashlib.sha256(place.encode()).hexdigest()[:32]}.json"
    known = _read_entry(entry)
    if known[:-1] == state:
        return str(known[-1])
    value = f"{DIGEST_PREFIX}{sha256(path)}"
    if time.time_ns() - max(found[-2:]) > _UNSETTLED_NS:
        write_text(entry, json.dumps([*state, value]))
    return value


def _read_entry(entry: Path) -> list[object]:
    try:
        known = json.loads(entry.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no entry yet, or half of one: the digest is computed
        return []
    return known if isinstance(known, list) else []


def files_digest(files: Sequence[tuple[str, Path]], cache: Path) -> str:
    """ "sha256:..." over (name, digest of the file) pairs, whatever their order."""
    lines = sorted(f"{name}\0{file_digest(path, cache)}\n" for name, path in files)
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def directory_files(directory: Path) -> list[tuple[str, Path]]:
    """(relative name, path) of every file under `directory`, hidden ones left out, sorted."""
    names = sorted(path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    return [(name.as_posix(), directory / name) for name in names if not any(p[0] == "." for p in name.parts)]
