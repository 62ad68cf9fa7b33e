"""CoNLL files: one word a line, in columns. What is a word, a comment or a fault is settled by the whole file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.data.reading import Faults, Row, text_lines
from jobs.errors import Fault

_DOCUMENT = "-DOCSTART-"
_IOB2 = re.compile(r"O|[BI]-\S+")
# Comments that may have as many fields as words have, and the marks of CoNLL-2012.
_KEY_AND_VALUE = re.compile(r"#\s*\S+\s+=\s")
_MARK = re.compile(r"#(begin|end) document\b")


def conll_rows(path: Path, columns: tuple[int, int], faults: Faults) -> Iterator[Row]:
    """(line number of its first word, {"tokens": ..., "tags": ...}) of each sentence of a CoNLL file.

    One word a line; columns are separated by tabs where the file has any, or else by plain spaces: other white space is
    part of a word. Blank lines end sentences. `columns`: places of word and tag, counted from 0, negative ones from the
    end. All lines have equally many columns (those of a sentence, where both places are counted from 0). -DOCSTART-
    lines are no words, nor are comments: lines before a sentence that begin with # and have other columns than words
    have. A word that begins with # is a word. Everything else becomes a fault, and its sentence is no row.
    """
    layout = _Layout.of(path, columns)
    tokens: list[str] = []
    tags: list[str] = []
    start = own = 0  # of the sentence: its first line, and its columns
    before = faults.count
    for number, line in text_lines(path, faults):
        if not line.strip():
            if tokens and faults.count == before:
                yield start, {"tokens": tokens, "tags": tags}
            tokens, tags, before = [], [], faults.count
            continue
        fields = layout.fields(line)
        if line.startswith(_DOCUMENT) or (not tokens and layout.is_comment(line, fields)):
            continue
        own = own if tokens else len(fields)
        if fault := layout.fault(line, fields, own, not tokens):
            faults.add(Fault(fault[0], f"{path}:{number}", fault[1], fault[2]))
            continue
        start = start if tokens else number
        tokens.append(fields[columns[0]])
        tags.append(fields[columns[1]])
    if tokens and faults.count == before:
        yield start, {"tokens": tokens, "tags": tags}


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a file is written: what separates its columns, how many most lines have, and the tags of those lines."""

    places: tuple[int, int]
    separator: str
    count: int
    tags: frozenset[str]

    @classmethod
    def of(cls, path: Path, places: tuple[int, int]) -> _Layout:
        """As the lines tell that begin with no #; all of them where every line does."""
        lines = [line for _, line in text_lines(path, Faults(str(path))) if line.strip()]
        words = [line for line in lines if not line.startswith(("#", _DOCUMENT))] or lines
        separator = "\t" if any("\t" in line for line in words) else " "
        rows = [_split(line, separator) for line in words]
        count = Counter(map(len, rows)).most_common(1)[0][0] if rows else 0
        tag = places[1]
        return cls(places, separator, count, frozenset(row[tag] for row in rows if -len(row) <= tag < len(row)))

    def fields(self, line: str) -> list[str]:
        """The columns of a line."""
        return _split(line, self.separator)

    def is_comment(self, line: str, fields: list[str]) -> bool:
        """Whether a line before a sentence is one."""
        if not line.startswith("#"):
            return False
        if len(fields) == self.count:
            return self.separator == " " and bool(_KEY_AND_VALUE.match(line))
        return line.startswith("# ") or line.strip() == "#" or "=" in line or bool(_MARK.match(line))

    def fault(self, line: str, fields: list[str], own: int, first: bool) -> tuple[str, str, str] | None:
        """What is wrong with a line of a sentence whose first one has `own` columns, what it has, and what to do."""
        token, tag = self.places
        if "\r" in line:
            return "a line end inside a line", repr(line)[:60], "write the file with one kind of line ends"
        if len(fields) < 2 or not all(-len(fields) <= place < len(fields) for place in self.places):
            todo = f"needed: word in column {token}, tag in column {tag}, counted from 0"
            return "a line without word or tag", f"{len(fields)} columns", todo
        expected = own if min(self.places) >= 0 else self.count
        if len(fields) != expected:
            todo = (
                "separate columns by tabs where words hold spaces" if self.separator == " " else "give each its columns"
            )
            return f"a line with more or fewer columns than the others, which have {expected}", str(len(fields)), todo
        if first and fields[0] == "#" and fields[tag] not in self.tags and not _IOB2.fullmatch(fields[tag]):
            return "a comment, or the word #?", line[:60], "separate columns by tabs, or take the line out"
        return None


def _split(line: str, separator: str) -> list[str]:
    return line.split("\t") if separator == "\t" else re.split(" +", line.strip(" "))
