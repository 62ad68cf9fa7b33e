"""Raw texts and labelled sentences of a `DataRef`, whatever their source."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import datasets
import numpy as np
from numpy.typing import NDArray

from jobs.data import cldr, cldr_ner
from jobs.data.files import record_table, row_table, sentence_table, text_table
from jobs.data.hub import hub_classes, hub_records, hub_rows, hub_sentences, hub_texts
from jobs.data.hub_source import hub_splits, refuse_shared, rows_of
from jobs.data.records import Reading, format_of
from jobs.data.sentences import Sentence, scheme_of
from jobs.errors import Fault, InputError
from jobs.spec import DataRef, Split, TaskKind, TaskRef

_ROWS = ("json", "csv", "hub")  # sources of rows with columns


def load_text(data: DataRef, split: Split, cache: Path | None = None) -> Sequence[str]:
    """The raw texts of one split, in the data's order; files and hub data stay memory-mapped.

    `cache`: a directory for the Arrow tables; by default that of `datasets`. A split without data of its own
    is cut from train by `hold_out` (see `cut`); `limits` then keep the first texts. Raises InputError
    with every faulty row, and for a split that is absent or empty.
    """
    if data.source == "cldr":
        return _filled(_limited(cldr.corpus(data.language, split), data, split), data, split)
    table = _part(data, split, cache, (text_table, hub_texts), "text")
    return _filled(table["text"], data, split)


def load_tagged(data: DataRef, split: Split, cache: Path | None = None, kind: TaskKind = "ner") -> Sequence[Sentence]:
    """The labelled sentences of one split, in the data's order. Arguments and errors as for `load_text`.

    Tags are strings, of entities in IOB2 (`data.repair` mends stray I- tags); integers are named by the data set's own
    classes or by `label_names`.
    """
    if data.source == "cldr":
        return _filled(list(_limited(cldr_ner.sentences(data.language, split), data, split)), data, split)
    scheme = scheme_of(kind, data.repair)
    readers = partial(sentence_table, scheme), partial(hub_sentences, scheme)
    table = _part(data, split, cache, readers, "tokens")
    found = [Sentence(tuple(row["tokens"]), tuple(row["tags"]), row["repaired"]) for row in table]
    return _filled(found, data, split)


def load_rows(data: DataRef, split: Split, cache: Path | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of one split: every column as it stands, and under our names those that `data.columns` names.

    Arguments and errors as for `load_text`. Rows of one context or premise stay together in a hold-out.
    """
    if data.source not in _ROWS:
        todo = f"use {', '.join(_ROWS)}"
        raise InputError(Fault("no rows with columns from this source", describe(data), data.source, todo))
    table = _part(data, split, cache, (row_table, hub_rows), "group")
    _filled(table, data, split)
    names = data.columns
    for item in table:
        row = json.loads(item["row"])
        yield item["where"], {**row, **{ours: row[theirs] for ours, theirs in names if theirs in row}}


def label_names(data: DataRef, split: Split, task: TaskRef, cache: Path | None = None) -> tuple[str, ...]:
    """What numbers in the column `label` are called: the classes of the hub's table, where the task has labels of these
    names, else `data.label_names`.
    """
    if data.source == "hub":
        there = split if split in hub_splits(data, cache) else "train"
        classes = hub_classes(dict(data.columns).get("label", "label"), data, there, cache)
        if not set(classes).isdisjoint(task.labels):
            return classes
    return data.label_names


def load_records(data: DataRef, split: Split, task: TaskRef, cache: Path | None = None) -> datasets.Dataset:
    """The rows of one split in the format of `task.kind` (see `jobs.data.records`). Arguments and errors as above.

    Labels of the rows are checked against `task.labels`, so that a language whose labels differ is a fault with its
    rows. Rows of one premise or context stay together when a split is cut by `hold_out`.
    """
    reading = Reading(task.kind, data.columns, data.label_names, task.labels)
    readers = partial(record_table, reading), partial(hub_records, reading)
    if data.source not in _ROWS:
        todo = f"use {', '.join(_ROWS)}"
        raise InputError(Fault(f"no {task.kind} data from this source", describe(data), data.source, todo))
    table = _part(data, split, cache, readers, format_of(task.kind).grouped_by)
    _filled(table, data, split)
    return table


_Row = TypeVar("_Row")
# Of local files, and of hub data.
_Readers = tuple[
    Callable[[DataRef, Path, Path | None], datasets.Dataset], Callable[[DataRef, Split, Path | None], datasets.Dataset]
]


def _part(data: DataRef, split: Split, cache: Path | None, readers: _Readers, grouped_by: str) -> datasets.Dataset:
    """The rows of one split. Where it is cut from train, rows that are equal in `grouped_by` stay together."""
    datasets.disable_progress_bars()  # progress is the command line's to show
    present = tuple(hub_splits(data, cache)) if data.source == "hub" else tuple(dict(data.files))

    def read(split: Split) -> datasets.Dataset:
        if data.source == "hub":
            return readers[1](data, split, cache)
        return _sliced(readers[0](data, Path(dict(data.files)[split]), cache), data, split)

    if split in present and (split != "train" or not data.hold_out):
        return _limited(read(split), data, split)
    if not data.hold_out or "train" not in present:
        todo = "give a file for it, or set hold_out to cut it from train"
        raise InputError(Fault(f"no {split} split", describe(data), f"present: {', '.join(present)}", todo))
    whole = read("train")
    rows = cut(map(example_hash, whole[grouped_by]), split, present, data.hold_out, describe(data))
    return whole.select(np.sort(rows)[: _limit(len(rows), data, split)])


def _sliced(table: datasets.Dataset, data: DataRef, split: Split) -> datasets.Dataset:
    """The part of a file that its name in `splits` asks for, e.g. "validation[50%:]", by the rules of `datasets`."""
    name = dict(data.splits).get(split, split)
    refuse_shared(data, split, len(table))
    return table.select(rows_of(name, len(table), data)) if "[" in name else table


def _limited(rows: Any, data: DataRef, split: Split) -> Any:
    limit = _limit(len(rows), data, split)
    if limit >= len(rows):
        return rows
    return rows.select(range(limit)) if isinstance(rows, datasets.Dataset) else rows[:limit]


def _limit(count: int, data: DataRef, split: Split) -> int:
    """How many of `count` examples the reference keeps."""
    return math.ceil(min(count, dict(data.limits).get(split, count)) * data.share)


def _filled(rows: Sequence[_Row], data: DataRef, split: Split) -> Sequence[_Row]:
    if not len(rows):
        raise InputError(Fault(f"the {split} split is empty", describe(data), todo="add data"))
    return rows


def describe(data: DataRef) -> str:
    """How messages call a data set: its source, language and place."""
    place = data.dataset or ", ".join(path for _, path in data.files)
    return " ".join(filter(None, (data.source, data.language, place, data.subset, data.directory)))


_CUT: tuple[Split, ...] = ("validation", "test")


def example_hash(parts: str | Sequence[str]) -> int:
    """64 bits of a text or of a sentence's words; tags do not count, so equal sentences stay together."""
    joined = parts if isinstance(parts, str) else "\x1f".join(parts)
    return int.from_bytes(blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def cut(hashes: Iterable[int], split: Split, present: Collection[str], share: float, where: str) -> NDArray[np.int64]:
    """Indices of the training examples that belong to `split`, ascending.

    The distinct hashes in ascending order: the lowest ceil(share * n) are validation, the next as many test,
    the others train; a split that is in `present` has a file of its own and takes none. So the parts
    are disjoint, depend neither on the order of the file nor on duplicates, and a small corpus yields its share.
    Raises InputError when the share is outside (0, 0.5) or leaves nothing to train on.
    """
    if not 0.0 < share < 0.5:
        raise InputError(Fault("hold_out must lie between 0 and 0.5", where, str(share)))
    values = np.fromiter(hashes, dtype=np.uint64)
    distinct = np.unique(values)
    size = int(np.ceil(share * len(distinct)))
    missing = [name for name in _CUT if name not in present]
    if len(distinct) <= size * len(missing):
        got = f"{len(distinct)} distinct examples"
        raise InputError(Fault(f"too few examples to hold out {share:g} twice", where, got, "add text"))
    place = np.searchsorted(distinct, values)
    low, high = _range(split, missing, size, len(distinct))
    return np.flatnonzero((place >= low) & (place < high)).astype(np.int64)


def _range(split: Split, missing: Sequence[str], size: int, end: int) -> tuple[int, int]:
    if split == "train":
        return size * len(missing), end
    start = size * missing.index(split)
    return start, start + size
