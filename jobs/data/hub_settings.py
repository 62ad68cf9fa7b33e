"""What `datasets` and pandas decide unsaid about a data set's files: missing values, quotation marks, YAML words."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import fsspec
import yaml

from jobs.data.reading import quotes_are_texts
from jobs.errors import Fault, InputError

_LINES = 100_000  # of a table that are looked at for quotation marks
_TEXT = datasets.Value("string")
_NAMED = re.compile(r"[\s-]*config_name:\s+([\w.+-]+)\s*$")


def table_settings(config: Any, features: datasets.Features | None, files: Sequence[str]) -> dict[str, Any]:
    """How the tables of a builder's `config` are read otherwise than by default; empty for what is no CSV or TSV.

    Fields are the texts that stand there, but for columns that are something else in `features`, those of the data
    set's card: 007 is no 7, and a number in a column with an empty field does not become 7.0. Words such as None,
    NA and nan are texts, not missing values: those are empty, and of `converters`' columns `filled` makes them missing.
    In tables of tabs, where quotation marks cannot be those around fields, they are part of the texts.
    """
    if type(config).__name__ != "CsvConfig":
        return {}
    settings: dict[str, Any] = {}
    if config.sep == "\t" and config.quoting == csv.QUOTE_MINIMAL and any(map(_quotes_are_texts, files)):
        settings["quoting"] = csv.QUOTE_NONE
    if config.keep_default_na and config.na_values is None:
        settings |= {"keep_default_na": False, "na_values": [""]}
        known = features or {}
        names = _columns(config, files, settings.get("quoting", config.quoting)) if config.converters is None else []
        texts = {name: str for name in names if known.get(name, _TEXT) == _TEXT}
        settings |= {"converters": texts} if texts else {}
    return settings


def filled(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row, or a batch of columns, of texts with None in place of empty fields."""
    return {name: value or None if isinstance(value, str) else _filled(value) for name, value in row.items()}


def _filled(values: Any) -> Any:
    return [one or None for one in values] if isinstance(values, list) else values


def _columns(config: Any, files: Sequence[str], quoting: Any) -> list[str]:
    """The columns' names where all files have the same ones, each once, in their first line; else none."""
    if config.header != "infer" or config.index_col is not None or config.names or config.usecols or config.skiprows:
        return []
    found = {tuple(_first_fields(config, file, quoting)) for file in files}
    names = found.pop() if len(found) == 1 else ()
    return list(names) if all(names) and len(set(names)) == len(names) else []


def _first_fields(config: Any, file: str, quoting: Any) -> list[str]:
    encoding = config.encoding or "utf-8-sig"
    with fsspec.open(file, "rt", compression="infer", encoding=encoding, errors="replace", newline="") as lines:
        try:
            return next(csv.reader(lines, delimiter=config.sep, quotechar=config.quotechar, quoting=quoting), [])
        except csv.Error:
            return []  # what is wrong with the file is told when it is read


def _quotes_are_texts(file: str) -> bool:
    with fsspec.open(file, "rt", compression="infer", encoding="utf-8", errors="replace", newline="") as lines:
        return quotes_are_texts(islice(lines, _LINES))


def check_card(file: Path) -> None:
    """Raise InputError for a card that names a configuration by what YAML 1.1, as `datasets` reads it, takes for true,
    false or a number.
    """
    if not file.is_file():
        return
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if (named := _NAMED.match(line)) and not isinstance(read := yaml.safe_load(named[1]), str):
            what, todo = f"YAML takes {named[1]} for {str(read).lower()}", f'write "{named[1]}" in quotation marks'
            raise InputError(Fault(what, f"{file}:{number}: config_name", todo=todo))
        if number > 1 and line == "---":
            return
