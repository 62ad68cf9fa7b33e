"""Rows of any columns, kept as JSON texts: prompts may name every column of an example, whatever it holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets

from jobs.data.reading import Faults, json_rows
from jobs.errors import Fault, InputError

# `where`: the row's place for messages; `group`: rows with the same one stay together in a hold-out.
ROW = datasets.Features(dict.fromkeys(("where", "row", "group"), datasets.Value("string")))
_GROUPED_BY = ("context", "premise")


def row_text(row: Mapping[str, Any], where: str) -> dict[str, str]:
    """One row of `ROW`. Raises InputError for values that JSON does not know (images, dates)."""
    try:
        text = json.dumps(row, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise InputError(Fault("a row that is no JSON object", where, str(error)[:80])) from error
    shared = next((str(row[name]) for name in _GROUPED_BY if row.get(name)), text)
    return {"where": where, "row": text, "group": shared}


def row_texts(source: str, path: str, state: object = None) -> Iterator[dict[str, str]]:
    """Rows of a JSON file. Raises InputError at its end when a line was faulty."""
    if source != "json":
        raise InputError(Fault("this source holds no rows with columns", path, source, "use json or hub"))
    faults = Faults(path)
    for number, row in json_rows(Path(path), faults):
        if not faults.count:
            yield row_text(row, f"{path}:{number}")
    faults.raise_any()
