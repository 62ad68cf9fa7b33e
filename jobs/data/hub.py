"""Data sets of the Hugging Face hub at a pinned commit, and local directories in the hub's layout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets

from jobs.data.files import SENTENCE, named
from jobs.data.reading import Faults
from jobs.data.records import Reading, format_of
from jobs.data.resolve import DIRECTORY
from jobs.data.rows import ROW, row_text
from jobs.data.sentences import sentence_faults
from jobs.errors import Fault, InputError
from jobs.spec import DataRef, Split


def hub_splits(data: DataRef, cache: Path | None) -> dict[str, str]:
    """Our split -> the data set's name for it, for the splits that exist."""
    if data.splits:
        return dict(data.splits)
    with _explained(data, "the data set cannot be read"):
        names = datasets.get_dataset_split_names(
            _path(data), data.subset or None, revision=_revision(data), cache_dir=_cache(cache)
        )
    return {name: name for name in names if name in ("train", "validation", "test")}


def hub_table(data: DataRef, split: Split, cache: Path | None) -> datasets.Dataset:
    """One split as it stands. Raises InputError when the data set, its subset or the split cannot be had.

    Code of a data set is never run: `datasets` reads data files alone.
    """
    name = dict(data.splits).get(split, split)
    if DIRECTORY in dict(data.files):
        _refuse_outsiders(data, cache)
    with _explained(data, f"the split {name!r} cannot be loaded"):
        return datasets.load_dataset(
            _path(data), data.subset or None, revision=_revision(data), split=name, cache_dir=_cache(cache)
        )


@contextmanager
def _explained(data: DataRef, what: str) -> Iterator[None]:
    """What `datasets` raises for a wrong name, a missing network or a faulty file, as an InputError."""
    try:
        yield
    except (ValueError, RuntimeError, OSError, datasets.exceptions.DatasetsError) as error:
        where = f"{data.dataset} {data.subset}".strip()
        got = f"{type(error).__name__}: {error}"[:300]
        raise InputError(Fault(what, where, got, "check name, subset, revision and the network")) from error


def _refuse_outsiders(data: DataRef, cache: Path | None) -> None:
    """A local card may name its data files, but only such as lie in its own directory."""
    try:
        builder = datasets.load_dataset_builder(_path(data), data.subset or None, cache_dir=_cache(cache))
    except (ValueError, OSError, datasets.exceptions.DatasetsError):
        return  # loading, which comes next, says what is wrong
    root = Path(_path(data)).resolve()
    named = [path for paths in (builder.config.data_files or {}).values() for path in paths]
    outside = [path for path in named if not Path(path).resolve().is_relative_to(root)]
    if outside:
        raise InputError(Fault("a data file lies outside its data set's directory", str(root), outside[0]))


def hub_texts(data: DataRef, split: Split, cache: Path | None) -> datasets.Dataset:
    """The texts as column `text`; rows of nothing but white space are left out. Raises InputError for other rows.

    Without `hold_out`, which must see all rows, reading ends when the limit of the split is reached.
    """
    limit = None if data.hold_out else dict(data.limits).get(split)
    table, where = hub_table(data, split, cache), f"{data.dataset} {data.subset} {split}"
    column = _column(table, data.text_column, "text_column", where)
    kind = table.features[column]
    if not isinstance(kind, datasets.Value) or kind.dtype not in ("string", "large_string"):
        raise InputError(Fault(f"the column {column!r} holds no strings", where, str(kind)))
    table = table.select_columns([column]).rename_column(column, "text") if column != "text" else table
    faults = Faults(where)
    kept: list[int] = []
    for row, text in enumerate(table["text"]):
        if len(kept) == limit:
            break
        if text is None:
            faults.add(Fault("no text", f"{where}: row {row}"))
        elif text.strip():
            kept.append(row)
    faults.raise_any()
    return table if len(kept) == len(table) else table.select(kept)


def hub_sentences(data: DataRef, split: Split, cache: Path | None) -> datasets.Dataset:
    """The sentences as columns `tokens` and `tags` (strings). Raises InputError with every faulty row."""
    table, where = hub_table(data, split, cache), f"{data.dataset} {data.subset} {split}"
    tokens = _column(table, data.tokens_column, "tokens_column", where)
    labels = _column(table, data.labels_column, "labels_column", where)
    names = _class_names(table.features[labels]) or data.label_names
    faults = Faults(where)
    rows = list(_checked(table.select_columns([tokens, labels]), (tokens, labels), names, faults))
    faults.raise_any()
    return datasets.Dataset.from_list(rows, features=SENTENCE)


def hub_rows(data: DataRef, split: Split, cache: Path | None) -> datasets.Dataset:
    """The rows as texts, see `jobs.data.rows`."""
    table, where = hub_table(data, split, cache), f"{data.dataset} {data.subset} {split}"
    rows = [row_text(row, f"{where}: row {number}") for number, row in enumerate(table)]
    return datasets.Dataset.from_list(rows, features=ROW)


def hub_records(data: DataRef, reading: Reading, split: Split, cache: Path | None) -> datasets.Dataset:
    """The rows in the format of `reading.kind`. Raises InputError with every faulty row."""
    table, where = hub_table(data, split, cache), f"{data.dataset} {data.subset} {split}"
    places = {_column(table, column, "columns", where) for column in reading.places().values()}
    label = table.features.get(reading.places().get("label", ""))
    reading = replace(reading, names=tuple(label.names) if isinstance(label, datasets.ClassLabel) else reading.names)
    faults = Faults(where)
    found = (
        reading.row(row, f"{where}: row {number}", faults)
        for number, row in enumerate(table.select_columns(sorted(places)))
    )
    rows = [row for row in found if row is not None]
    faults.raise_any()
    return datasets.Dataset.from_list(rows, features=format_of(reading.kind).features)


def _checked(
    table: datasets.Dataset, columns: tuple[str, str], names: tuple[str, ...], faults: Faults
) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(table):
        tokens, tags = row[columns[0]], named(row[columns[1]], names)
        faults.add(*sentence_faults(tokens, tags, names, f"{faults.path}: row {number}"))
        yield {"tokens": tokens, "tags": tags}


def _class_names(feature: Any) -> tuple[str, ...]:
    inner = getattr(feature, "feature", None)
    return tuple(inner.names) if isinstance(inner, datasets.ClassLabel) else ()


def _column(table: datasets.Dataset, name: str, key: str, where: str) -> str:
    if name not in table.column_names:
        got = f"columns: {', '.join(table.column_names)}"
        raise InputError(Fault(f"no column {name!r}", where, got, f"name it in {key}"))
    return name


def _path(data: DataRef) -> str:
    return dict(data.files).get(DIRECTORY, data.dataset)


def _revision(data: DataRef) -> str | None:
    return None if DIRECTORY in dict(data.files) else data.revision


def _cache(cache: Path | None) -> str | None:
    return str(cache / "datasets") if cache else None
