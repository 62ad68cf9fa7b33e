"""What is read from the tables of the hub: texts, labelled sentences, rows of any columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets

from jobs.data.files import SENTENCE, named
from jobs.data.hub_source import hub_table, kept_table
from jobs.data.reading import Faults
from jobs.data.records import ROW, Reading, format_of, row_text
from jobs.data.sentences import Scheme, mended, sentence_faults
from jobs.errors import Fault, InputError
from jobs.spec import DataRef, Split


def hub_texts(data: DataRef, split: Split, cache: Path | None) -> datasets.Dataset:
    """The texts as column `text`; rows of nothing but white space are left out. Raises InputError for other rows.

    Without `hold_out`, which must see all rows, reading ends when the limit of the split is reached.
    """
    limit = None if data.hold_out else dict(data.limits).get(split)
    table = hub_table(data, split, cache, text=data.text_column)
    where = f"{data.dataset} {data.subset} {split}"
    column = _column(table, data.text_column, "text_column", where)
    kind = table.features[column]
    if not isinstance(kind, datasets.Value) or kind.dtype not in ("string", "large_string"):
        raise InputError(Fault(f"the column {column!r} holds no strings", where, str(kind)))
    table = table.select_columns([column]).rename_column(column, "text") if column != "text" else table
    faults = Faults(where, bool(data.skip_rows))
    kept: list[int] = []
    for row, text in enumerate(table["text"]):
        if len(kept) == limit:
            break
        if text is None:
            faults.add(Fault("no text", f"{where}: row {row}"))
        elif text.strip():
            kept.append(row)
    faults.tell_skipped(len(kept))
    return table if len(kept) == len(table) else table.select(kept)


def hub_sentences(scheme: Scheme, data: DataRef, split: Split, cache: Path | None) -> datasets.Dataset:
    """The sentences as columns `tokens`, `tags` (strings), `repaired`. Raises InputError with every faulty row."""
    return kept_table("tagged", (split, scheme), data, cache, lambda: _sentences(scheme, data, split, cache))


def _sentences(scheme: Scheme, data: DataRef, split: Split, cache: Path | None) -> datasets.Dataset:
    table, where = hub_table(data, split, cache), f"{data.dataset} {data.subset} {split}"
    tokens = _column(table, data.tokens_column, "tokens_column", where)
    labels = _column(table, data.labels_column, "labels_column", where)
    names = _class_names(table.features[labels]) or data.label_names
    faults = Faults(where, bool(data.skip_rows))
    rows = list(_checked(table.select_columns([tokens, labels]), (tokens, labels), names, scheme, faults))
    faults.tell_skipped(len(rows))
    return _made(rows, SENTENCE)


def hub_rows(data: DataRef, split: Split, cache: Path | None) -> datasets.Dataset:
    """The rows as texts, see `jobs.data.records`."""
    return kept_table("rows", split, data, cache, lambda: _rows(data, split, cache))


def _rows(data: DataRef, split: Split, cache: Path | None) -> datasets.Dataset:
    table, where = hub_table(data, split, cache), f"{data.dataset} {data.subset} {split}"
    rows = [row_text(row, f"{where}: row {number}") for number, row in enumerate(table)]
    return _made(rows, ROW)


def _made(rows: list[dict[str, Any]], features: datasets.Features) -> datasets.Dataset:
    """A table, even of no rows, for which `from_list` has no columns."""
    return datasets.Dataset.from_dict({name: [row[name] for row in rows] for name in features}, features=features)


def hub_records(reading: Reading, data: DataRef, split: Split, cache: Path | None) -> datasets.Dataset:
    """The rows in the format of `reading.kind`. Raises InputError with every faulty row."""
    return kept_table("records", (split, reading), data, cache, lambda: _records(data, reading, split, cache))


def _records(data: DataRef, reading: Reading, split: Split, cache: Path | None) -> datasets.Dataset:
    table, where = hub_table(data, split, cache), f"{data.dataset} {data.subset} {split}"
    places = {_column(table, column, "columns", where) for column in reading.places().values()}
    classes = _classes(table.features.get(reading.places().get("label", "")))
    reading = replace(reading, names=classes or reading.names)
    faults = Faults(where, bool(data.skip_rows))
    found = (
        reading.row(row, f"{where}: row {number}", faults)
        for number, row in enumerate(table.select_columns(sorted(places)))
    )
    rows = [row for row in found if row is not None]
    faults.tell_skipped(len(rows))
    return _made(rows, format_of(reading.kind).features)


def _checked(
    table: datasets.Dataset, columns: tuple[str, str], names: tuple[str, ...], scheme: Scheme, faults: Faults
) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(table):
        tokens, (tags, repaired) = row[columns[0]], mended(named(row[columns[1]], names), scheme)
        wrong = sentence_faults(tokens, tags, names, f"{faults.path}: row {number}", scheme)
        faults.add(*wrong)
        if not wrong:
            yield {"tokens": tokens, "tags": tags, "repaired": repaired}


def hub_classes(column: str, data: DataRef, split: Split, cache: Path | None) -> tuple[str, ...]:
    """The names of the classes that a column has, in the order of their numbers; none of a column without classes."""

    def made() -> datasets.Dataset:
        names = _classes(hub_table(data, split, cache).features.get(column))
        return _made([{"name": name} for name in names], datasets.Features({"name": datasets.Value("string")}))

    return tuple(kept_table("classes", (split, column), data, cache, made)["name"])


def _class_names(feature: Any) -> tuple[str, ...]:
    return _classes(getattr(feature, "feature", None))


def _classes(feature: Any) -> tuple[str, ...]:
    return tuple(feature.names) if isinstance(feature, datasets.ClassLabel) else ()


def _column(table: datasets.Dataset, name: str, key: str, where: str) -> str:
    if name not in table.column_names:
        got = f"columns: {', '.join(table.column_names)}"
        raise InputError(Fault(f"no column {name!r}", where, got, f"name it in {key}"))
    return name
