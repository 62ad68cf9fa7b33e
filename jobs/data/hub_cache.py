"""What was read of data sets at pinned commits, kept beside the other caches: the hub is asked once."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import datasets

from jobs.data.resolve import DIRECTORY
from jobs.files.atomic import write_text
from jobs.spec import DataRef
from jobs.spec.identity import key_of

_VERSION = 1  # raised when the same data set gives other tables than before


def kept_table(
    what: str, asked: object, data: DataRef, cache: Path | None, make: Callable[[], datasets.Dataset]
) -> datasets.Dataset:
    """The table that `make` reads from the hub; the second time from `cache`.

    `what` names the kind of table, `asked` what beside `data` decides on it. Local directories are read each time.
    """
    folder = _place(what, asked, data, cache)
    if folder is None:
        return make()
    if not folder.is_dir():
        table = make()
        with tempfile.TemporaryDirectory(prefix=f".{what}-", dir=folder.parent) as part:
            table.save_to_disk(Path(part) / "table")
            with contextlib.suppress(OSError):  # another worker was faster; its table is the same
                (Path(part) / "table").rename(folder)
    return datasets.load_from_disk(folder)


def kept_names(data: DataRef, cache: Path | None, make: Callable[[], list[str]]) -> list[str]:
    """Names that `make` asks the hub for; the second time from `cache`."""
    file = _place("splits", "", data, cache)
    if file is None:
        return make()
    if not file.is_file():
        write_text(file, json.dumps(make()))
    names: list[str] = json.loads(file.read_text(encoding="utf-8"))
    return names


def _place(what: str, asked: object, data: DataRef, cache: Path | None) -> Path | None:
    if cache is None or DIRECTORY in dict(data.files):
        return None
    folder = cache / "hub"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{what}-{data.language}-{key_of(_VERSION, what, repr(asked), data)}"
