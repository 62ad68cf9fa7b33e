"""Local files read row by row, each row with its line number, every fault of a file at once."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import logging
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from jobs.errors import Fault, InputError

SHOWN = 20
_LOG = logging.getLogger(__name__)
# What a compressed file begins with, and what opens it; None for those that are not read.
_COMPRESSED: dict[bytes, tuple[str, Callable[..., Any] | None]] = {
    b"\x1f\x8b": ("gzip", gzip.open),
    b"BZh": ("bzip2", bz2.open),
    b"\xfd7zXZ\x00": ("xz", lzma.open),
    b"PK\x03\x04": ("zip", None),
    b"\x28\xb5\x2f\xfd": ("Zstandard", None),
}
# A question file in the form in which SQuAD, XQuAD and MLQA are published.
_NESTED = re.compile(rb'\s*\{(?=.*"paragraphs"\s*:).*?"data"\s*:\s*\[\s*\{', re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # which no file has but as an escape


@dataclass(slots=True)
class Faults:
    """The faults of one file; only the first ones are kept, the others are counted.

    `skipping`: rows with faults are left out, and only what spoils the whole file counts against it. `rows`: how many.
    """

    path: str
    skipping: bool = False
    kept: list[Fault] = field(default_factory=list)
    count: int = 0
    rows: int = 0
    spoiled: bool = False

    def add(self, *faults: Fault) -> None:
        """Those of one row: count all, keep the first ones."""
        self.rows += bool(faults)
        self.count += len(faults)
        self.kept += faults[: max(0, SHOWN - len(self.kept))]

    def spoil(self, fault: Fault) -> None:
        """One that ends the reading of the file."""
        self.add(fault)
        self.spoiled = True

    @property
    def refused(self) -> bool:
        """Whether the file is not to be used."""
        return self.spoiled or (self.count > 0 and not self.skipping)

    def raise_any(self) -> None:
        """Raise one InputError with the kept faults and the number of the others; return when the file may be used."""
        more = self.count - len(self.kept)
        if self.refused:
            raise InputError(*self.kept, *([Fault(f"and {more} more faults", self.path)] if more else []))

    def tell_skipped(self, left: int) -> None:
        """Say in the log how many rows are left out. Raises InputError where none is `left`."""
        self.skipping = self.skipping and left > 0
        self.raise_any()
        if self.rows:
            _LOG.warning("%s: %d rows are left out (skip_rows: invalid), as %s", self.path, self.rows, self.kept[0])


Row = tuple[int, Any]


def json_rows(path: Path, faults: Faults) -> Iterator[Row]:
    """(line number, object) of JSON lines; (row number, object) of one JSON array, or of a question file in SQuAD's own
    form. Broken lines become faults.
    """
    head = b""
    with _opened(path, faults) as file:
        head = file.read(4096).removeprefix(b"\xef\xbb\xbf")
    if not head:
        return
    if head.lstrip()[:1] == b"[" or _NESTED.match(head):
        yield from _document_rows(path, faults)
        return
    for number, line in text_lines(path, faults):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            faults.add(Fault("not valid JSON", f"{path}:{number}", str(error)[:80], "write one JSON object a line"))
            continue
        yield from _object(number, value, f"{path}:{number}", line, faults)


def object_rows(source: str, path: Path, faults: Faults) -> Iterator[Row]:
    """The rows with columns of a JSON or a CSV file. Raises InputError for a source that has none."""
    if source == "json":
        return json_rows(path, faults)
    if source == "csv":
        return table_rows(path, faults)
    raise InputError(Fault("this source holds no rows with columns", str(path), source, "use json, csv or hub"))


def table_rows(path: Path, faults: Faults) -> Iterator[Row]:
    """(line number, object) of a table whose first row names its columns; all values are texts.

    Columns are separated by the first of tab, comma and semicolon that the first row has. A row that has more or fewer
    becomes a fault. Quotation marks between tabs are those around fields, unless `quotes_are_texts`.
    """
    csv.field_size_limit(2**31 - 1)  # a text may be a whole document
    header = next((line for _, line in text_lines(path, Faults(str(path)))), "")
    separator = next((mark for mark in "\t,;" if mark in header), ",")
    plain = separator == "\t" and quotes_are_texts(line for _, line in text_lines(path, Faults(str(path))))
    lines = (f"{line}\n" for _, line in text_lines(path, faults))
    reader = csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL, strict=True)
    columns: list[str] | None = None
    try:
        for fields in reader:
            if columns is None:
                columns = fields
            elif len(fields) == len(columns):
                yield reader.line_num, dict(zip(columns, fields, strict=True))
            elif fields:
                got, todo = f"{len(fields)} of {len(columns)}", "quote fields that hold the separator"
                faults.add(
                    Fault("a row with more or fewer fields than columns", f"{path}:{reader.line_num}", got, todo)
                )
    except csv.Error as error:
        faults.spoil(
            Fault("not a row of a table", f"{path}:{reader.line_num}", str(error), "close its quotation marks")
        )


def quotes_are_texts(lines: Iterable[str]) -> bool:
    """Whether quotation marks of a table of tabs cannot be those around fields: every line has all columns, and a field
    begins with a mark without ending with one.
    """
    columns, bare = set(), False
    for line in lines:
        fields = line.rstrip("\r\n").split("\t")
        columns.add(len(fields))
        bare = bare or any(field.startswith('"') and (len(field) == 1 or field[-1] != '"') for field in fields)
    return bare and len(columns) == 1


def _document_rows(path: Path, faults: Faults) -> Iterator[Row]:
    text, values = "", list[Any]()
    try:
        with _opened(path, faults) as file:
            text = file.read().decode("utf-8-sig")
            values = json.loads(text)
    except (ValueError, RecursionError) as error:
        faults.spoil(Fault("not valid JSON", str(path), str(error)[:120]))
        return
    try:
        rows = _questions(values) if isinstance(values, dict) else values
    except (KeyError, TypeError, AttributeError) as error:
        todo = "write data, paragraphs, context, qas as SQuAD has them, or one question a line"
        faults.spoil(Fault("not a question file in SQuAD's form", str(path), str(error)[:80], todo))
        return
    for number, value in enumerate(rows, 1):
        yield from _object(number, value, f"{path}: row {number}", text, faults)


def _questions(document: dict[str, Any]) -> list[Any]:
    """One row a question of a nested file, with the context and the title that stand above it."""
    return [
        {"title": article.get("title", ""), "context": paragraph["context"], **question}
        for article in document["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]


def _object(number: int, value: Any, where: str, text: str, faults: Faults) -> Iterator[Row]:
    """`value`, which stands in `text`, with its number; or a fault where it is no object of whole texts."""
    if not isinstance(value, dict):
        faults.add(Fault("not a JSON object", where, _json_type(value)))
    elif _SURROGATE.search(text) and _is_halved(value):
        todo = "an emoji was cut: write the whole character, or take it out"
        faults.add(Fault("half of a character (a lone surrogate)", where, todo=todo))
    else:
        yield number, value


def _json_type(value: object) -> str:
    """What JSON calls a value's type."""
    names = {
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), "null")


def _is_halved(value: Any) -> bool:
    """Whether a text in it has no UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def text_lines(path: Path, faults: Faults) -> Iterator[tuple[int, str]]:
    """(line number, line without its end); a line that is not UTF-8 becomes a fault.

    A file without any line feed has the line ends of old, carriage returns alone.
    """
    with _opened(path, faults) as file:
        for number, raw in enumerate(_lines(file), 1):
            try:
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                faults.add(Fault("not UTF-8", f"{path}:{number}", str(error)[:80], "save the file as UTF-8"))


def _lines(file: BinaryIO) -> Iterator[bytes]:
    first = file.readline()
    yield from [first] if first.endswith(b"\n") else first.splitlines()
    yield from file


@contextmanager
def _opened(path: Path, faults: Faults) -> Iterator[BinaryIO]:
    """The file's bytes; those inside one that is compressed. What cannot be read of it becomes a fault."""
    with path.open("rb") as file:
        head = file.read(6)
    name, reader = next((own for start, own in _COMPRESSED.items() if head.startswith(start)), ("", open))
    if reader is None:
        raise InputError(Fault(f"compressed by {name}", str(path), todo="unpack it, or compress it by gzip"))
    try:
        with reader(path, "rb") as file:
            yield file
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        if not name:
            raise
        faults.spoil(Fault(f"the file compressed by {name} is damaged", str(path), str(error)[:80]))
