"""Data sets of the Hugging Face hub at a pinned commit, and local directories in its layout, as tables of rows."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import datasets

from jobs.data.resolve import DIRECTORY
from jobs.data.slices import bounds, plain_name
from jobs.errors import Fault, InputError
from jobs.files.atomic import write_text
from jobs.spec import DataRef, RowFilter, Split
from jobs.spec.identity import key_of

# Raised when the same data set gives other streamed rows than before.
_VERSION = 1


def hub_splits(data: DataRef, cache: Path | None) -> dict[str, str]:
    """Our split -> the data set's name for it, for those that exist; a split given to one of ours is no other's."""
    given = dict(data.splits)
    if len(given) == 3:
        return given
    names = kept_names(data, cache, lambda: _split_names(data, cache))
    taken = {plain_name(name) for name in given.values()}
    own = {name: name for name in names if name in ("train", "validation", "test") and name not in taken}
    return {**own, **given}


def _split_names(data: DataRef, cache: Path | None) -> list[str]:
    with _explained(data, "the data set cannot be read"):
        return list(
            datasets.get_dataset_split_names(
                _path(data),
                data.subset or None,
                data_dir=data.directory or None,
                revision=_revision(data),
                cache_dir=_cache(cache),
            )
        )


def hub_table(data: DataRef, split: Split, cache: Path | None, text: str = "") -> datasets.Dataset:
    """The rows of one split that `data.rows` keeps, with their columns as they stand.

    Where the rows wanted are the first ones (`limits`, a slice with an end), only those are read: not every file of a
    huge corpus is fetched. `text`: the column whose blank rows do not count towards the limit. Raises InputError when
    the data set, its subset, its split or a column cannot be had, and when several languages would be joined.
    Code of a data set is never run: `datasets` reads data files alone.
    """
    name = dict(data.splits).get(split, split)
    with _explained(data, f"the split {name!r} cannot be loaded"):
        builder = datasets.load_dataset_builder(
            _path(data),
            data.subset or None,
            data_dir=data.directory or None,
            revision=_revision(data),
            cache_dir=_cache(cache),
        )
        _refuse_outsiders(data, builder)
        _refuse_joined_folders(data, builder)
        part = _part(data, split, text)
        if part is not None:
            return _streamed(builder, part, f"{data!r} {split}", cache)
        builder.download_and_prepare()
        table = builder.as_dataset(split=name)
    return _kept(table, data.rows, f"{data.dataset} {data.subset} {split}") if data.rows else table


@dataclass(frozen=True, slots=True)
class _Part:
    """The first rows of a split: those from `start` to `stop`, and of them `limit` that count."""

    name: str
    start: int
    stop: int | None
    limit: int | None
    text: str
    rows: RowFilter | None

    def of(self, stream: Any) -> Iterator[dict[str, Any]]:
        found = 0
        for row in islice(stream, self.start, self.stop):
            if found == self.limit:
                return
            if self.rows is None or _fits(self.rows, row.get(self.rows.column)):
                found += not self.text or not isinstance(row.get(self.text), str) or bool(row[self.text].strip())
                yield row


def _part(data: DataRef, split: Split, text: str) -> _Part | None:
    """What to read of a split that need not be read whole; None for one that must: a hold-out sees all rows."""
    name = dict(data.splits).get(split, split)
    limit, ends = dict(data.limits).get(split), bounds(name)
    if data.hold_out or ends is None or (limit is None and ends[1] is None):
        return None
    return _Part(plain_name(name), *ends, limit, text, data.rows)


def _streamed(builder: Any, part: _Part, identity: str, cache: Path | None) -> datasets.Dataset:
    stream = builder.as_streaming_dataset(split=part.name)
    features = stream.features
    if part.rows:
        _require(part.rows.column, list(features or next(iter(stream), {})), part.name)
    if next(part.of(stream), None) is None:
        return datasets.Dataset.from_dict({name: [] for name in features or ()}, features=features)
    return datasets.Dataset.from_generator(
        part.of,
        features=features,
        gen_kwargs={"stream": stream},
        cache_dir=_cache(cache),
        fingerprint=hashlib.sha256(f"{_VERSION} {part} {identity}".encode()).hexdigest()[:32],
    )


def _kept(table: datasets.Dataset, rows: RowFilter, where: str) -> datasets.Dataset:
    _require(rows.column, table.column_names, where)
    return table.select([place for place, value in enumerate(table[rows.column]) if _fits(rows, value)])


def _fits(rows: RowFilter, value: object) -> bool:
    return str(value).startswith(rows.prefix) if rows.prefix else str(value) == rows.value


def _require(column: str, known: list[str], where: str) -> None:
    if column not in known:
        got = f"columns: {', '.join(known)}"
        raise InputError(Fault(f"no column {column!r} to choose rows by", where, got, "name it in `rows`"))


@contextmanager
def _explained(data: DataRef, what: str) -> Iterator[None]:
    """What `datasets` raises for a wrong name, a missing network or a faulty file, as an InputError."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, RuntimeError, OSError, datasets.exceptions.DatasetsError) as error:
        where = " ".join(filter(None, (data.dataset, data.subset, data.directory)))
        got = f"{type(error).__name__}: {error}"[:300]
        todo = "check name, subset, directory, revision and the network"
        raise InputError(Fault(what, where, got, todo)) from error


def _files(builder: Any) -> Mapping[str, list[str]]:
    return {str(split): list(paths) for split, paths in (builder.config.data_files or {}).items()}


def _refuse_outsiders(data: DataRef, builder: Any) -> None:
    """A local card may name its data files, but only such as lie in its own directory."""
    if DIRECTORY not in dict(data.files):
        return
    root = Path(_path(data)).resolve()
    for path in (path for paths in _files(builder).values() for path in paths):
        if not Path(path).resolve().is_relative_to(root):
            raise InputError(Fault("a data file lies outside its data set's directory", str(root), path))


def _refuse_joined_folders(data: DataRef, builder: Any) -> None:
    """Without a card `datasets` joins the files of all folders: where each is a language, that is never meant."""
    if data.subset or data.directory:
        return
    for split, paths in _files(builder).items():
        folders = sorted({path.removeprefix(str(builder.base_path)).lstrip("/").rpartition("/")[0] for path in paths})
        if len(folders) > 1:
            got = ", ".join(folders[:6])
            todo = "name one of them in `directory`, or write `subset: default` to read them as one"
            raise InputError(Fault(f"files of the {split} split lie in several folders", data.dataset, got, todo))


def _path(data: DataRef) -> str:
    return dict(data.files).get(DIRECTORY, data.dataset)


def _revision(data: DataRef) -> str | None:
    return None if DIRECTORY in dict(data.files) else data.revision


def _cache(cache: Path | None) -> str | None:
    return str(cache / "datasets") if cache else None


_TABLES = 1  # raised when the same data set gives other tables than before


def kept_table(
    what: str, asked: object, data: DataRef, cache: Path | None, make: Callable[[], datasets.Dataset]
) -> datasets.Dataset:
    """The table that `make` reads from the hub; the second time from `cache`.

    `what` names the kind of table, `asked` what beside `data` decides on it. Local directories are read each time.
    """
    folder = _place(what, asked, data, cache)
    if folder is None:
        return make()
    if not folder.is_dir():
        table = make()
        with tempfile.TemporaryDirectory(prefix=f".{what}-", dir=folder.parent) as part:
            table.save_to_disk(Path(part) / "table")
            with contextlib.suppress(OSError):  # another worker was faster; its table is the same
                (Path(part) / "table").rename(folder)
    return datasets.load_from_disk(folder)


def kept_names(data: DataRef, cache: Path | None, make: Callable[[], list[str]]) -> list[str]:
    """Names that `make` asks the hub for; the second time from `cache`."""
    file = _place("splits", "", data, cache)
    if file is None:
        return make()
    if not file.is_file():
        write_text(file, json.dumps(make()))
    names: list[str] = json.loads(file.read_text(encoding="utf-8"))
    return names


def _place(what: str, asked: object, data: DataRef, cache: Path | None) -> Path | None:
    if cache is None or DIRECTORY in dict(data.files):
        return None
    folder = cache / "hub"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{what}-{data.language}-{key_of(_TABLES, what, repr(asked), data)}"
