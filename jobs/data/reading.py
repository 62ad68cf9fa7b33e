"""Local files read row by row, each row with its line number, every fault of a file at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.errors import Fault, InputError

SHOWN = 20


@dataclass(slots=True)
class Faults:
    """The faults of one file; only the first ones are kept, the others are counted."""

    path: str
    kept: list[Fault] = field(default_factory=list)
    count: int = 0

    def add(self, *faults: Fault) -> None:
        """Count all, keep the first ones."""
        self.count += len(faults)
        self.kept += faults[: max(0, SHOWN - len(self.kept))]

    def raise_any(self) -> None:
        """Raise one InputError with the kept faults and the number of the others; return when there are none."""
        more = self.count - len(self.kept)
        if self.count:
            raise InputError(*self.kept, *([Fault(f"and {more} more faults", self.path)] if more else []))


Row = tuple[int, Any]


def json_rows(path: Path, faults: Faults) -> Iterator[Row]:
    """(line number, object) of JSON lines; (row number, object) of one JSON array. Broken lines become faults."""
    with path.open("rb") as file:
        first = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if first == b"[":
        yield from _array_rows(path, faults)
        return
    for number, line in text_lines(path, faults):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            faults.add(Fault("not valid JSON", f"{path}:{number}", str(error)[:80], "write one JSON object a line"))
            continue
        if isinstance(value, dict):
            yield number, value
        else:
            faults.add(Fault("not a JSON object", f"{path}:{number}", type(value).__name__))


def _array_rows(path: Path, faults: Faults) -> Iterator[Row]:
    try:
        values = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        faults.add(Fault("not valid JSON", str(path), str(error)[:120]))
        return
    for number, value in enumerate(values, 1):
        if isinstance(value, dict):
            yield number, value
        else:
            faults.add(Fault("not a JSON object", f"{path}: row {number}", type(value).__name__))


def text_lines(path: Path, faults: Faults) -> Iterator[tuple[int, str]]:
    """(line number, line without its end); a line that is not UTF-8 becomes a fault."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                faults.add(Fault("not UTF-8", f"{path}:{number}", str(error)[:80], "save the file as UTF-8"))


def conll_rows(path: Path, columns: tuple[int, int], faults: Faults) -> Iterator[Row]:
    """(line number of its first word, {"tokens": ..., "tags": ...}) of each sentence of a CoNLL file.

    One word a line, columns separated by tabs, or else by white space; blank lines end sentences. `columns`:
    places of word and tag, counted from 0, negative ones from the end. Comments (`# key = value` before a
    sentence) and -DOCSTART- lines are no words.
    """
    tokens: list[str] = []
    tags: list[str] = []
    start = 0
    for number, line in text_lines(path, faults):
        if not line.strip():
            if tokens:
                yield start, {"tokens": tokens, "tags": tags}
            tokens, tags = [], []
            continue
        fields = line.split("\t") if "\t" in line else line.split()
        if fields[0] == "-DOCSTART-" or (not tokens and _is_comment(line)):
            continue
        word = _word(fields, columns)
        if word is None:
            got = f"{len(fields)} columns"
            todo = f"needed: word in column {columns[0]}, tag in column {columns[1]}, counted from 0"
            faults.add(Fault("a line without word or tag", f"{path}:{number}", got, todo))
            continue
        start = start if tokens else number
        tokens.append(word[0])
        tags.append(word[1])
    if tokens:
        yield start, {"tokens": tokens, "tags": tags}


def _is_comment(line: str) -> bool:
    return line.startswith("#") and "\t" not in line and line.split()[-1][:2] not in ("O", "B-", "I-")


def _word(fields: list[str], columns: tuple[int, int]) -> tuple[str, str] | None:
    token, tag = columns
    if len(fields) < 2 or not (-len(fields) <= token < len(fields) and -len(fields) <= tag < len(fields)):
        return None
    return fields[token], fields[tag]
