"""Data sets of the Hugging Face hub at a pinned commit, and local directories in its layout, as tables of rows."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import yaml

from jobs.data.digests import directory_files
from jobs.data.hub_settings import check_card, filled, table_settings
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
        _check_card(data)
        return list(
            datasets.get_dataset_split_names(
                _path(data),
                data.subset or None,
                data_dir=data.directory or None,
                revision=_revision(data),
                cache_dir=_cache(data, cache),
            )
        )


def _check_card(data: DataRef) -> None:
    """Raise InputError for a local card that cannot be read as it is meant."""
    if DIRECTORY in dict(data.files):
        check_card(Path(_path(data)) / "README.md")


def _builder(data: DataRef, cache: Path | None) -> tuple[Any, dict[str, Any]]:
    """What reads the data set's files, and how it does so otherwise than by default. Raises InputError for files that
    are not the reference's own, and for such as would be joined.
    """

    def made(**settings: Any) -> Any:
        return datasets.load_dataset_builder(
            _path(data),
            data.subset or None,
            data_dir=data.directory or None,
            revision=_revision(data),
            cache_dir=_cache(data, cache),
            **settings,
        )

    _check_card(data)
    builder = made()
    _refuse_outsiders(data, builder)
    _refuse_joined_files(data, builder)
    files = [path for paths in _files(builder).values() for path in paths]
    settings = table_settings(builder.config, builder.info.features, files)
    return (made(**settings) if settings else builder), settings


def hub_table(data: DataRef, split: Split, cache: Path | None, text: str = "") -> datasets.Dataset:
    """The rows of one split that `data.rows` keeps, with their columns as they stand.

    Where the rows wanted are the first ones (`limits`, a slice with an end), only those are read: not every file of a
    huge corpus is fetched. `text`: the column whose blank rows do not count towards the limit. Raises InputError when
    the data set, its subset, its split or a column cannot be had, and when several languages would be joined.
    Code of a data set is never run: `datasets` reads data files alone.
    """
    name = dict(data.splits).get(split, split)
    with _explained(data, f"the split {name!r} cannot be loaded"):
        builder, settings = _builder(data, cache)
        part = _part(data, split, text, bool(settings.get("converters")))
        if part is not None:
            identity = f"{data!r} {split}{f' {settings}' if settings else ''}"
            return _streamed(builder, part, identity, _cache(data, cache))
        builder.download_and_prepare()
        table = builder.as_dataset(split=name)
        if settings.get("converters"):
            table = table.map(filled, batched=True, features=table.features)
    refuse_shared(data, split, builder.info.splits[plain_name(name)].num_examples)
    return _kept(table, data.rows, f"{data.dataset} {data.subset} {split}") if data.rows else table


def refuse_shared(data: DataRef, split: Split, count: int) -> None:
    """Raise InputError where the part of a split of `count` rows meets that of another of ours: what names alone do not
    tell, as those of rows and of percents.
    """
    given = dict(data.splits)
    own = rows_of(given.get(split, split), count, data)
    for other, name in given.items():
        if other != split and plain_name(name) == plain_name(given.get(split, split)):
            rows = rows_of(name, count, data)
            if max(own.start, rows.start) < min(own.stop, rows.stop):
                got, todo = (
                    f"{given.get(split, split)} and {name} of {count} rows",
                    "give each rows of its own in `splits`",
                )
                raise InputError(
                    Fault(f"{split} and {other} have rows in common", data.dataset or data.source, got, todo)
                )


def rows_of(name: str, count: int, data: DataRef) -> range:
    """The rows of a split of `count` that a name such as "validation[50%:]" asks for, by the rules of `datasets`."""
    if "[" not in name:
        return range(count)
    try:
        instruction = datasets.ReadInstruction.from_spec(f"rows{name.removeprefix(plain_name(name))}")
        (part,) = instruction.to_absolute({"rows": count})
    except (ValueError, AssertionError) as error:
        todo = 'write e.g. "validation[:50%]" or "validation[100:]"'
        where = " ".join(filter(None, (data.source, data.language, data.dataset)))
        raise InputError(Fault("not a slice of a split", where, name, todo)) from error
    return range(part.from_ or 0, count if part.to is None else part.to)


@dataclass(frozen=True, slots=True)
class _Part:
    """The first rows of a split: those from `start` to `stop`, and of them `limit` that count.

    `of_texts`: of a table of texts, where an empty one is a missing one.
    """

    name: str
    start: int
    stop: int | None
    limit: int | None
    text: str
    rows: RowFilter | None
    of_texts: bool

    def of(self, stream: Any) -> Iterator[dict[str, Any]]:
        found = 0
        for given in islice(stream, self.start, self.stop):
            row = filled(given) if self.of_texts else given
            if found == self.limit:
                return
            if self.rows is None or _fits(self.rows, row.get(self.rows.column)):
                found += not self.text or not isinstance(row.get(self.text), str) or bool(row[self.text].strip())
                yield row


def _part(data: DataRef, split: Split, text: str, of_texts: bool) -> _Part | None:
    """What to read of a split that need not be read whole; None for one that must: a hold-out sees all rows."""
    name = dict(data.splits).get(split, split)
    limit, ends = dict(data.limits).get(split), bounds(name)
    if data.hold_out or ends is None or (limit is None and ends[1] is None):
        return None
    return _Part(plain_name(name), *ends, limit, text, data.rows, of_texts)


def _streamed(builder: Any, part: _Part, identity: str, cache: str | None) -> datasets.Dataset:
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
        cache_dir=cache,
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


# By `datasets` and what it reads with, for names, networks, cards and files that are not as they should be.
_RAISED = (
    ValueError, RuntimeError, OSError, TypeError, LookupError, AttributeError, datasets.exceptions.DatasetsError,
)  # fmt: skip


@contextmanager
def _explained(data: DataRef, what: str) -> Iterator[None]:
    """What `datasets` raises for a wrong name, a missing network or a faulty file, as an InputError."""
    try:
        yield
    except InputError:
        raise
    except yaml.MarkedYAMLError as error:
        card = Path(_path(data)) / "README.md"
        line = error.problem_mark.line + 2 if error.problem_mark else 1  # below the card's ---
        raise InputError(Fault(f"not valid YAML: {error.problem}", f"{card}:{line}", todo="mend the card")) from error
    except _RAISED as error:
        where = " ".join(filter(None, (data.dataset, data.subset, data.directory)))
        got = f"{type(error).__name__}: {error}"[:300]
        todo = "check name, subset, directory, revision and the network"
        raise InputError(Fault(what, where, got, todo)) from error


def _files(builder: Any) -> Mapping[str, list[str]]:
    return {str(split): list(paths) for split, paths in (builder.config.data_files or {}).items()}


def _refuse_outsiders(data: DataRef, builder: Any) -> None:
    """A local card may name its data files, but only such as are part of the revision: the bytes of its own directory.

    Files there may be links, as those of the hub's cache are.
    """
    if DIRECTORY not in dict(data.files):
        return
    root = Path(_path(data)).absolute()
    own = {path for _, path in directory_files(root)}
    for path in (path for paths in _files(builder).values() for path in paths):
        if Path(os.path.normpath(path)).absolute() not in own:
            raise InputError(Fault("a data file lies outside its data set's directory", str(root), path))


# What numbers the parts of one table, and the hash that the hub once put behind it.
_PART = re.compile(r"-[0-9a-f]{16}(?=\.)|(-of-)?\d+")


def _refuse_joined_files(data: DataRef, builder: Any) -> None:
    """Without a card `datasets` joins the files of all folders, and all files of a split in one folder: where each is
    a language, that is never meant.
    """
    if data.subset:
        return
    # A card names splits by texts; those that the library has found itself are of a type of its own.
    found = {str(split) for split in builder.config.data_files or {} if not isinstance(split, str)}
    for split, paths in _files(builder).items():
        names = [path.removeprefix(str(builder.base_path)).lstrip("/").rpartition("/") for path in paths]
        folders = sorted({folder for folder, _, _ in names})
        if len(folders) > 1 and not data.directory:
            got = ", ".join(folders[:6])
            todo = "name one of them in `directory`, or write `subset: default` to read them as one"
            raise InputError(Fault(f"files of the {split} split lie in several folders", data.dataset, got, todo))
        if split in found and len({_PART.sub("", name) for _, _, name in names}) > 1:
            got = ", ".join(sorted(name for _, _, name in names)[:6])
            todo = "give each language a folder and name it in `directory`, or write `subset: default` for the join"
            raise InputError(Fault(f"files of the {split} split have several names", data.dataset, got, todo))


def _path(data: DataRef) -> str:
    return dict(data.files).get(DIRECTORY, data.dataset)


def _revision(data: DataRef) -> str | None:
    return None if DIRECTORY in dict(data.files) else data.revision


def _cache(data: DataRef, cache: Path | None) -> str | None:
    """Where tables are kept: those of local files by their bytes; `datasets` goes by the time of writing."""
    if cache is None:
        return None
    own = (data.revision.replace(":", "-"),) if DIRECTORY in dict(data.files) else ()
    return str(cache.joinpath("datasets", *own))


_TABLES = 2  # raised when the same data set gives other tables than before


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
