"""Texts with `{column}` in them: what a language model is asked, from the columns of one example. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.errors import Fault, InputError

_PIECE = re.compile(r"\{\{|\}\}|\{(?P<column>[^{}]*)\}|(?P<lone>[{}])|(?P<text>[^{}]+)")
_COLUMN = re.compile(r"\w[\w-]*(\.\w[\w-]*)*")


@dataclass(frozen=True, slots=True)
class Filled:
    """A template with the values of one example in it. `spans`: (start, end) of each value in `text`."""

    text: str
    spans: tuple[tuple[int, int], ...]

    def between(self, before: str, after: str) -> Filled:
        """The same with a text before and one after it."""
        shift = len(before)
        return Filled(f"{before}{self.text}{after}", tuple((start + shift, end + shift) for start, end in self.spans))

    def stripped(self) -> Filled:
        """The same without white space around it."""
        text, shift = self.text.strip(), len(self.text) - len(self.text.lstrip())
        places = [tuple(min(max(0, place - shift), len(text)) for place in span) for span in self.spans]
        return Filled(text, tuple((start, end) for start, end in places))


@dataclass(frozen=True, slots=True)
class Template:
    """`pieces`: (text, False) or (column, True), in order. `{answers.text}` is `text` of the column `answers`."""

    pieces: tuple[tuple[str, bool], ...]

    @classmethod
    def parse(cls, text: str, where: str = "") -> Template:
        """Read a template; `{{` and `}}` are literal braces. Raises InputError for a lone brace or an empty name."""
        pieces: list[tuple[str, bool]] = []
        for match in _PIECE.finditer(text):
            if match["lone"] is not None:
                todo = "write {{ and }} for braces that stand for themselves"
                raise InputError(Fault(f"a lone {match[0]}", where, _around(text, match.start()), todo))
            column = match["column"]
            if column is not None and not _COLUMN.fullmatch(column):
                raise InputError(Fault("not the name of a column", where, match[0], "e.g. {question}, {answers.text}"))
            pieces.append(
                (match[0][:1] if match[0] in ("{{", "}}") else match[0], False) if column is None else (column, True)
            )
        return cls(tuple(pieces))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are named, each once."""
        return tuple(dict.fromkeys(piece for piece, is_column in self.pieces if is_column))

    @property
    def ends_in_white_space(self) -> bool:
        """Whether what is written last is white space: a tokenizer then gives it a token of its own."""
        last, is_column = self.pieces[-1] if self.pieces else ("", False)
        return not is_column and last != last.rstrip()

    def fill(self, row: Mapping[str, Any], where: str = "") -> Filled:
        """The text for one example. Raises InputError for a column that it lacks or that holds no single value."""
        text, spans = "", []
        for piece, is_column in self.pieces:
            added = _single(piece, _value(row, piece, where), where) if is_column else piece
            if is_column:
                spans.append((len(text), len(text) + len(added)))
            text += added
        return Filled(text, tuple(spans))

    def fill_all(self, row: Mapping[str, Any], where: str = "") -> tuple[str, ...]:
        """Every text for one example: several where the template has one column and that holds a list.

        Raises as `fill`.
        """
        places = [place for place, (_, is_column) in enumerate(self.pieces) if is_column]
        if len(places) == 1:
            column = self.pieces[places[0]][0]
            value = _value(row, column, where)
            if isinstance(value, list):
                texts = [piece for piece, _ in self.pieces]
                before, after = "".join(texts[: places[0]]), "".join(texts[places[0] + 1 :])
                return tuple(dict.fromkeys(f"{before}{_single(column, one, where)}{after}" for one in value))
        return (self.fill(row, where).text,)


def _around(text: str, place: int) -> str:
    return repr(text[max(0, place - 15) : place + 15])


def _value(row: Mapping[str, Any], column: str, where: str) -> Any:
    value: Any = row
    for key in column.split("."):
        if not isinstance(value, Mapping) or key not in value:
            got = f"columns: {', '.join(_names(row))}"
            raise InputError(Fault(f"no column {column!r} for the template", where, got[:200], "name one of them"))
        value = value[key]
    return value


def _names(row: Mapping[str, Any]) -> Iterator[str]:
    for name, value in row.items():
        yield from (f"{name}.{key}" for key in value) if isinstance(value, Mapping) else (name,)


def _single(column: str, value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    todo = "a template needs strings or numbers; an answer with one column may have a list in it"
    raise InputError(Fault(f"the column {column!r} holds no text", where, repr(value)[:60], todo))
