"""What `datasets` and pandas decide unsaid about a data set's files: missing values, quotation marks, YAML words."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import fsspec
import yaml

from jobs.data.reading import quotes_are_texts
from jobs.errors import Fault, InputError

_LINES = 100_000  # of a table that are looked at for quotation marks
_NAMED = re.compile(r"[\s-]*config_name:\s+([\w.+-]+)\s*$")


def table_settings(config: Any, files: Sequence[str]) -> dict[str, Any]:
    """How the tables of a builder's `config` are read otherwise than by default; empty for what is no CSV or TSV.

    Words such as None, NA and nan are texts, not missing values: those are empty. In tables of tabs, where quotation
    marks cannot be those around fields, they are part of the texts.
    """
    if type(config).__name__ != "CsvConfig":
        return {}
    plain = config.keep_default_na and config.na_values is None
    settings: dict[str, Any] = {"keep_default_na": False, "na_values": [""]} if plain else {}
    if config.sep == "\t" and config.quoting == csv.QUOTE_MINIMAL and any(map(_quotes_are_texts, files)):
        settings["quoting"] = csv.QUOTE_NONE
    return settings


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
