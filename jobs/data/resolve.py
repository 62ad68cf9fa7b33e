"""From a pattern in a campaign file to a `DataRef` with a pinned revision. Imports no torch and no datasets."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from jobs.errors import Fault, raise_all
from jobs.spec import DataRef, DataSource, Split

_CHUNK = 1 << 20
# A file that changed within this many nanoseconds may change again without a new time stamp: not cached.
_UNSETTLED_NS = 2_000_000_000
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SPLITS: tuple[Split, ...] = get_args(Split)
# The `files` entry under this name is the directory of a local data set in the hub's layout.
DIRECTORY = "directory"


@dataclass(frozen=True, slots=True)
class DataRequest:
    """What a campaign says about one language's data.

    `files`: a pattern such as "{data}/uner/{language}/{split}.jsonl"; without {split} it is the training file.
    `dataset`: a hub name, or a local directory in the hub's layout. `{...}` in `files`, `dataset` and `subset`
    are replaced from `variables` and `language`. Relative paths start at `base`.
    `needed`: the splits that will be read; files of others are no part of the reference, unless `hold_out` is
    set. The other fields are those of `DataRef`.
    """

    source: DataSource
    language: str
    files: str = ""
    dataset: str = ""
    subset: str = ""
    revision: str = ""
    base: Path = Path()
    variables: Mapping[str, str] | None = None
    needed: tuple[Split, ...] = ("train",)
    splits: tuple[tuple[str, str], ...] = ()
    text_column: str = "text"
    tokens_column: str = "tokens"
    labels_column: str = "ner_tags"
    label_names: tuple[str, ...] = ()
    hold_out: float = 0.0
    limits: tuple[tuple[str, int], ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    where: str = ""


def file_digest(path: Path, cache: Path) -> str:
    """ "sha256:..." of a file's bytes, remembered in `cache` by path, size and time of change.

    Raises OSError when the file cannot be read.
    """
    status = path.stat()
    place = str(path.resolve())
    state = [place, status.st_size, status.st_mtime_ns]
    entry = cache / "digests" / f"{hashlib.sha256(place.encode()).hexdigest()[:32]}.json"
    known = _read_entry(entry)
    if known[:-1] == state:
        return str(known[-1])
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    value = f"sha256:{digest.hexdigest()}"
    if time.time_ns() - status.st_mtime_ns > _UNSETTLED_NS:
        _write_entry(entry, [*state, value])
    return value


def _read_entry(entry: Path) -> list[object]:
    try:
        known = json.loads(entry.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no entry yet, or half of one: the digest is computed
        return []
    return known if isinstance(known, list) else []


def _write_entry(entry: Path, values: list[object]) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    draft = entry.with_suffix(f".{os.getpid()}.{time.monotonic_ns()}")
    draft.write_text(json.dumps(values), encoding="utf-8")
    draft.replace(entry)


def files_digest(files: Sequence[tuple[str, Path]], cache: Path) -> str:
    """ "sha256:..." over (name, digest of the file) pairs, whatever their order."""
    lines = sorted(f"{name}\0{file_digest(path, cache)}\n" for name, path in files)
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def directory_files(directory: Path) -> list[tuple[str, Path]]:
    """(relative name, path) of every file under `directory`, hidden ones left out, sorted."""
    names = sorted(path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    return [(name.as_posix(), directory / name) for name in names if not any(p[0] == "." for p in name.parts)]


def data_ref(request: DataRequest, cache: Path) -> DataRef:
    """The `DataRef` of one language, with its revision taken from the files' bytes or the pinned commit.

    Raises InputError with every fault: missing files, unknown variables, an unpinned hub name.
    """
    faults: list[Fault] = []
    if request.source == "cldr":
        from jobs.data.cldr import REVISION  # imports babel, which no other source needs

        found: tuple[str, tuple[tuple[str, str], ...]] = (REVISION, ())
    elif request.source == "hub":
        found = _hub(request, cache, faults)
    else:
        found = _files(request, cache, faults)
    subset = _filled(request.subset, request, faults)
    raise_all(faults)
    local = any(name == DIRECTORY for name, _ in found[1])
    dataset = Path(found[1][0][1]).name if local else _filled(request.dataset, request, faults)
    return DataRef(
        source=request.source,
        language=request.language,
        revision=found[0],
        dataset=dataset,
        subset=subset,
        splits=request.splits,
        text_column=request.text_column,
        tokens_column=request.tokens_column,
        labels_column=request.labels_column,
        label_names=request.label_names,
        hold_out=request.hold_out,
        limits=request.limits,
        columns=request.columns,
        files=found[1],
    )


def _files(request: DataRequest, cache: Path, faults: list[Fault]) -> tuple[str, tuple[tuple[str, str], ...]]:
    given = {split: sliced(name)[0] for split, name in request.splits}
    names: dict[str, str] = {**{split: split for split in _SPLITS}, **given}
    by_split = "{split}" in request.files
    paths = {
        split: _path(request.files.replace("{split}", names[split]), request, faults)
        for split in (_SPLITS if by_split else _SPLITS[:1])
    }
    present = {split: path for split, path in paths.items() if path.is_file()}
    if not faults:
        faults += _missing(request, paths, present)
    if faults:
        return "", ()
    if not request.hold_out:  # a hold-out is cut by which splits are there: then all of them count
        present = {split: path for split, path in present.items() if split in request.needed}
    return files_digest(list(present.items()), cache), tuple((split, str(path)) for split, path in present.items())


def sliced(name: str) -> tuple[str, str]:
    """The name of a split and its slice as `datasets` writes it: "validation[:50%]" -> ("validation", "[:50%]")."""
    plain, bracket, inner = name.partition("[")
    return plain, bracket + inner


def _missing(request: DataRequest, paths: Mapping[Split, Path], present: Mapping[Split, Path]) -> list[Fault]:
    """Faults for the needed splits that have no file and cannot be cut from train either."""
    absent = [split for split in request.needed if split not in present]
    if not absent or (request.hold_out and "train" in present):
        return []
    if "train" not in present and (request.hold_out or len(paths) == 1):
        return [Fault(f"no train file for {request.language}", request.where, str(paths["train"]), "check the path")]
    faults = []
    for split in absent:
        path = paths.get(split, paths["train"])
        todo = "check the path" if split in paths else "put {split} into the pattern, or set hold_out"
        what = (
            f"no {split} file for {request.language}" if split in paths else f"no {split} data for {request.language}"
        )
        faults.append(Fault(what, request.where, str(path), todo))
    return faults


def _hub(request: DataRequest, cache: Path, faults: list[Fault]) -> tuple[str, tuple[tuple[str, str], ...]]:
    before = len(faults)
    directory = _path(request.dataset, request, faults)
    if len(faults) > before:
        return "", ()
    if directory.is_dir():
        return files_digest(directory_files(directory), cache), ((DIRECTORY, str(directory)),)
    if not _COMMIT.fullmatch(request.revision):
        todo = "pin `revision` to a commit of the data set (40 hex digits), or give a directory that exists"
        faults.append(Fault(f"{request.dataset} has no pinned revision", request.where, request.revision, todo))
    return request.revision, ()


def _path(pattern: str, request: DataRequest, faults: list[Fault]) -> Path:
    return request.base / Path(_filled(pattern, request, faults)).expanduser()


def _filled(pattern: str, request: DataRequest, faults: list[Fault]) -> str:
    known = {**(request.variables or {}), "language": request.language}

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in known:
            todo = f"known: {', '.join(sorted([*known, 'split']))}"
            faults.append(Fault(f"unknown variable {{{name}}}", request.where, pattern, todo))
        return known.get(name, "")

    return re.sub(r"\{(\w+)\}", value, pattern)
