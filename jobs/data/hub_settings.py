"""What `datasets` and pandas decide unsaid about a data set's files: missing values, quotation marks, YAML words."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import fsspec
import yaml

from jobs.data.reading import quotes_are_texts
from jobs.errors import Fault, InputError
from jobs.files.yaml_document import parse_yaml

_LINES = 100_000  # of a table that are looked at for quotation marks
_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)


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
    """Raise InputError for a card whose front matter is no YAML, or names configurations by what YAML 1.1 takes for
    true, false or a number, as `datasets` reads it.
    """
    found = _FRONT_MATTER.match(file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else None
    if found is None:
        return
    # Blank lines in place of what stands before keep the line numbers of faults those of the file.
    meant = parse_yaml(f"\n{found[1]}", file)
    read = yaml.safe_load(found[1])
    for place, name in _names(read):
        if not isinstance(name, str):
            (written,) = [own for at, own in _names(meant.content) if at == place]
            todo = f'write "{written}" in quotation marks'
            raise InputError(Fault(f"YAML takes {written} for {str(name).lower()}", meant.where(place), todo=todo))


def _names(content: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """(place, value) of every configuration's name."""
    for key in ("configs", "dataset_info"):
        configs = content.get(key) if isinstance(content, dict) else None
        for number, config in enumerate(configs) if isinstance(configs, list) else ():
            if isinstance(config, dict) and "config_name" in config:
                yield (key, number, "config_name"), config["config_name"]
