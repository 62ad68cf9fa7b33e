"""Local JSON, CSV, text and CoNLL files as memory-mapped Arrow tables, every row checked on the way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets

from jobs.data.conll import conll_rows
from jobs.data.reading import Faults, json_rows, object_rows, text_lines
from jobs.data.records import ROW, Reading, format_of, record_rows, row_texts
from jobs.data.sentences import Scheme, mended, sentence_faults
from jobs.errors import Fault, InputError
from jobs.files.digest import file_state
from jobs.spec import DataRef

TEXT = datasets.Features({"text": datasets.Value("string")})
SENTENCE = datasets.Features(
    {
        "tokens": datasets.List(datasets.Value("string")),
        "tags": datasets.List(datasets.Value("string")),
        "repaired": datasets.Value("int64"),
    }
)
# Raised when rows are read otherwise than before, so that no stale table is used.
_VERSION = 4


def text_table(data: DataRef, path: Path, cache: Path | None) -> datasets.Dataset:
    """The texts of one file as column `text`; rows of nothing but white space hold no text and are left out.

    Raises InputError with every faulty row of the file (the first 20 shown).
    """
    return _table(text_rows, TEXT, {"column": data.text_column}, data, path, cache)


def sentence_table(scheme: Scheme, data: DataRef, path: Path, cache: Path | None) -> datasets.Dataset:
    """The sentences of one file as columns `tokens`, `tags`, `repaired`. Raises InputError as `text_table` does."""
    columns = data.tokens_column, data.labels_column
    arguments = {"columns": columns, "names": data.label_names, "scheme": scheme}
    return _table(sentence_rows, SENTENCE, arguments, data, path, cache)


def row_table(data: DataRef, path: Path, cache: Path | None) -> datasets.Dataset:
    """The rows of one JSON or CSV file as texts, see `jobs.data.records`. Raises InputError as `text_table` does."""
    return _table(row_texts, ROW, {}, data, path, cache)


def record_table(reading: Reading, data: DataRef, path: Path, cache: Path | None) -> datasets.Dataset:
    """The rows of one file in the format of `reading.kind`. Raises InputError as `text_table` does."""
    return _table(record_rows, format_of(reading.kind).features, {"reading": reading}, data, path, cache)


def _table(
    rows: Any,
    features: datasets.Features,
    arguments: dict[str, Any],
    data: DataRef,
    path: Path,
    cache: Path | None,
) -> datasets.Dataset:
    try:
        # Part of what `datasets` hashes: a file that changed is read anew.
        state = (*file_state(path), _VERSION)
    except OSError as error:
        raise InputError(Fault("no such file", str(path), error.strerror or "", "check the path")) from error
    given = {**arguments, "source": data.source, "path": str(path), "state": state}
    if data.skip_rows:
        # Counted each time, so that every step's log says it; the table itself may be kept from an earlier one.
        given["skip"], faults = True, Faults(str(path), skipping=True)
        faults.tell_skipped(left=sum(1 for _ in rows(**given, faults=faults)))
    # An empty table cannot be written by `datasets`; it is made in memory.
    first = next(rows(**given), None)
    if first is None:
        return datasets.Dataset.from_dict({name: [] for name in features}, features=features)
    try:
        return datasets.Dataset.from_generator(
            rows, features=features, gen_kwargs=given, cache_dir=str(cache / "datasets") if cache else None
        )
    except datasets.exceptions.DatasetGenerationError as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        raise


def text_rows(
    source: str, path: str, column: str, state: object = None, skip: bool = False, faults: Faults | None = None
) -> Iterator[dict[str, str]]:
    """Rows {"text": ...} of a JSON or text file. Raises InputError at its end when a row was faulty.

    Here as below: with `skip` such rows are left out. `faults`: where they are noted, for one who counts.
    """
    faults = faults or Faults(path, skip)
    for where, text in _texts(source, Path(path), column, faults):
        if not isinstance(text, str):
            got = "missing" if text is None else repr(text)[:60]
            faults.add(Fault(f"the column {column!r} holds no string", where, got, "name it in text_column"))
        elif not faults.refused and text.strip():
            yield {"text": text}
    faults.raise_any()


def _texts(source: str, path: Path, column: str, faults: Faults) -> Iterator[tuple[str, object]]:
    if source == "text":
        yield from ((f"{path}:{number}", line) for number, line in text_lines(path, faults))
    elif source in ("json", "csv"):
        yield from ((f"{path}:{number}", row.get(column)) for number, row in object_rows(source, path, faults))
    else:
        raise InputError(Fault("this source holds no raw text", str(path), source, "use json, csv, text, hub or cldr"))


def sentence_rows(
    source: str,
    path: str,
    columns: tuple[str, str],
    names: tuple[str, ...],
    scheme: Scheme,
    state: object = None,
    skip: bool = False,
    faults: Faults | None = None,
) -> Iterator[dict[str, Any]]:
    """Rows of a JSON or CoNLL file, as `SENTENCE` has them. Raises InputError at its end when a row was faulty."""
    faults = faults or Faults(path, skip)
    for where, tokens, tags in _sentences(source, Path(path), columns, faults):
        tags, repaired = mended(named(tags, names), scheme)
        wrong = sentence_faults(tokens, tags, names, where, scheme)
        faults.add(*wrong)
        if not wrong and not faults.refused:
            yield {"tokens": tokens, "tags": tags, "repaired": repaired}
    faults.raise_any()


def _sentences(source: str, path: Path, columns: tuple[str, str], faults: Faults) -> Iterator[tuple[str, Any, Any]]:
    if source == "conll":
        places = (conll_column(columns[0], 0, str(path)), conll_column(columns[1], -1, str(path)))
        rows, keys = conll_rows(path, places, faults), ("tokens", "tags")
    elif source == "json":
        rows, keys = json_rows(path, faults), columns
    else:
        raise InputError(Fault("this source holds no labelled words", str(path), source, "use json, conll or hub"))
    for number, row in rows:
        absent = [key for key in keys if key not in row]
        if absent:
            got = f"columns: {', '.join(map(repr, row))}"[:120]
            todo = "name the columns in tokens_column and labels_column"
            faults.add(Fault(f"no column {absent[0]!r}", f"{path}:{number}", got, todo))
        else:
            yield f"{path}:{number}", row[keys[0]], row[keys[1]]


def conll_column(name: str, default: int, where: str) -> int:
    """A column's place: an integer in `tokens_column` or `labels_column`, or `default` for their default names."""
    if name in ("tokens", "ner_tags"):
        return default
    if not re.fullmatch(r"-?\d+", name):
        todo = "give its place: 0 is the first, -1 the last"
        raise InputError(Fault("columns of a CoNLL file have no names", where, name, todo))
    return int(name)


def named(tags: Any, names: tuple[str, ...]) -> Any:
    """Integer tags by their names; a number without a name, and what are no integers, stay as they are."""
    if isinstance(tags, list) and names and all(type(tag) is int for tag in tags):
        return [names[tag] if 0 <= tag < len(names) else tag for tag in tags]
    return tags
