"""From a pattern in a campaign file to a `DataRef` with a pinned revision. Imports no torch and no datasets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from jobs.data.digests import directory_files, files_digest
from jobs.data.slices import overlapping, plain_name
from jobs.errors import Fault, raise_all
from jobs.files.digest import COMMIT
from jobs.spec import DataRef, DataSource, RowFilter, Split

_SPLITS: tuple[Split, ...] = get_args(Split)
# The `files` entry under this name is the directory of a local data set in the hub's layout.
DIRECTORY = "directory"


@dataclass(frozen=True, slots=True)
class DataRequest:
    """What a campaign says about one language's data.

    `files`: a pattern such as "{data}/uner/{language}/{split}.jsonl"; without {split} it is the training file.
    `dataset`: a hub name, or a local directory in the hub's layout. `{...}` in `files`, `dataset`, `subset`,
    `directory` and the values of `rows` are replaced from `variables` and `language`. Relative paths start at `base`.
    `needed`: the splits that will be read; files of others are no part of the reference, unless `hold_out` is
    set. The other fields are those of `DataRef`. Of lm-eval: `dataset` is the task's name, `files` the directory of
    task files, "" for the harness's own; the reference is pinned by `jobs.evaluation.harness_tasks`.
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
    directory: str = ""
    rows: RowFilter | None = None
    repair: bool = False
    skip_rows: str = ""
    run_code: bool = False
    where: str = ""


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
    elif request.source == "lm-eval":
        found = _task_files(request, faults)
    else:
        found = _files(request, cache, faults)
    subset, directory = (_filled(pattern, request, faults) for pattern in (request.subset, request.directory))
    rows = _filled_rows(request, faults)
    raise_all(faults)
    local = request.source == "hub" and any(name == DIRECTORY for name, _ in found[1])
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
        directory=directory,
        rows=rows,
        repair=request.repair,
        skip_rows=request.skip_rows,
        files=found[1],
        run_code=request.run_code,
    )


def data_place(request: DataRequest) -> tuple[str, ...]:
    """Which files and rows one language's data are, of whatever split: equal for two languages that share them."""
    rows = request.rows
    patterns = (request.files, request.dataset, request.subset, request.directory)
    chosen = (rows.column, rows.prefix, rows.value) if rows else ()
    return tuple(_filled(pattern.replace("{split}", "*"), request, []) for pattern in (*patterns, *chosen))


def _files(request: DataRequest, cache: Path, faults: list[Fault]) -> tuple[str, tuple[tuple[str, str], ...]]:
    written: dict[Split, str] = {**{split: split for split in _SPLITS}, **dict(request.splits)}  # type: ignore[dict-item]
    names = {split: plain_name(name) for split, name in written.items()}
    by_split = "{split}" in request.files
    if by_split and (shared := overlapping({split: written[split] for split in request.needed})):
        got = ", ".join(written[split] for split in shared)
        todo = "give each rows of its own in `splits`"
        faults.append(Fault(f"{shared[0]} and {shared[1]} would have rows in common", request.where, got, todo))
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


def _missing(request: DataRequest, paths: Mapping[Split, Path], present: Mapping[Split, Path]) -> list[Fault]:
    """Faults for the needed splits that have no file and cannot be cut from train either."""
    absent = [split for split in request.needed if split not in present]
    check = "check the path"
    if not Path(request.files).expanduser().is_absolute() and not request.files.startswith("{"):
        check += ": relative ones begin where the command is typed, those with ${here}/ beside the campaign's file"
    if not absent or (request.hold_out and "train" in present):
        return []
    if "train" not in present and (request.hold_out or len(paths) == 1):
        return [Fault(f"no train file for {request.language}", request.where, str(paths["train"]), check)]
    faults = []
    for split in absent:
        path = paths.get(split, paths["train"])
        todo = check if split in paths else "put {split} into the pattern, or set hold_out"
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
        own = _filled(request.directory, request, faults)
        if own and not (directory / own).is_dir():
            todo = "name a folder of it in `directory`"
            faults.append(Fault(f"no such folder in {directory}", request.where, own, todo))
        return files_digest(directory_files(directory), cache), ((DIRECTORY, str(directory)),)
    if not COMMIT.fullmatch(request.revision):
        todo = f"pin `revision` to a commit of the data set (40 hex digits), or give a directory: {directory} is none"
        faults.append(Fault(f"{request.dataset} has no pinned revision", request.where, request.revision, todo))
    return request.revision, ()


def _task_files(request: DataRequest, faults: list[Fault]) -> tuple[str, tuple[tuple[str, str], ...]]:
    folder = ((DIRECTORY, str(_path(request.files, request, faults))),) if request.files else ()
    return request.revision, folder


def _filled_rows(request: DataRequest, faults: list[Fault]) -> RowFilter | None:
    rows = request.rows
    if rows is None:
        return None
    prefix, value = (_filled(pattern, request, faults) for pattern in (rows.prefix, rows.value))
    return replace(rows, prefix=prefix, value=value)


def _path(pattern: str, request: DataRequest, faults: list[Fault]) -> Path:
    return (request.base / Path(_filled(pattern, request, faults)).expanduser()).absolute()


def _filled(pattern: str, request: DataRequest, faults: list[Fault]) -> str:
    known = {**(request.variables or {}), "language": request.language}

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in known:
            todo = f"known: {', '.join(sorted([*known, 'split']))}"
            faults.append(Fault(f"unknown variable {{{name}}}", request.where, pattern, todo))
        return known.get(name, "")

    return re.sub(r"\{(\w+)\}", value, pattern)
