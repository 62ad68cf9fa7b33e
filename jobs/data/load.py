"""Raw texts and labelled sentences of a `DataRef`, whatever their source."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import datasets
import numpy as np

from jobs.data import cldr, cldr_ner
from jobs.data.files import record_table, row_table, sentence_table, text_table
from jobs.data.holdout import cut, example_hash
from jobs.data.hub import hub_records, hub_rows, hub_sentences, hub_texts
from jobs.data.hub_source import hub_splits
from jobs.data.records import Reading, format_of
from jobs.data.sentences import NerSentence
from jobs.data.slices import plain_name
from jobs.errors import Fault, InputError
from jobs.spec import DataRef, Split, TaskRef


def load_text(data: DataRef, split: Split, cache: Path | None = None) -> Sequence[str]:
    """The raw texts of one split, in the data's order; files and hub data stay memory-mapped.

    `cache`: a directory for the Arrow tables; by default that of `datasets`. A split without data of its own
    is cut from train by `hold_out` (see `holdout.cut`); `limits` then keep the first texts. Raises InputError
    with every faulty row, and for a split that is absent or empty.
    """
    if data.source == "cldr":
        return _filled(_limited(cldr.corpus(data.language, split), data, split), data, split)
    table = _part(data, split, cache, _TEXTS, lambda whole: map(example_hash, whole["text"]))
    return _filled(table["text"], data, split)


def load_ner(data: DataRef, split: Split, cache: Path | None = None) -> Sequence[NerSentence]:
    """The labelled sentences of one split, in the data's order. Arguments and errors as for `load_text`.

    Tags are IOB2 strings; integers are named by the data set's own classes or by `label_names`.
    """
    if data.source == "cldr":
        own = _limited(cldr_ner.sentences(data.language, split), data, split)
        return _filled([NerSentence(sentence.tokens, sentence.tags) for sentence in own], data, split)
    table = _part(data, split, cache, _SENTENCES, lambda whole: map(example_hash, whole["tokens"]))
    return _filled([NerSentence(tuple(row["tokens"]), tuple(row["tags"])) for row in table], data, split)


def load_rows(data: DataRef, split: Split, cache: Path | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of one split: every column as it stands, and under our names those that `data.columns` names.

    Arguments and errors as for `load_text`. Rows of one context or premise stay together in a hold-out.
    """
    if data.source not in ("json", "hub"):
        todo = "use json or hub"
        raise InputError(Fault("no rows with columns from this source", describe(data), data.source, todo))
    table = _part(data, split, cache, _ROWS, lambda whole: map(example_hash, whole["group"]))
    _filled(table, data, split)
    names = data.columns
    for item in table:
        row = json.loads(item["row"])
        yield item["where"], {**row, **{ours: row[theirs] for ours, theirs in names if theirs in row}}


def load_records(data: DataRef, split: Split, task: TaskRef, cache: Path | None = None) -> datasets.Dataset:
    """The rows of one split in the format of `task.kind` (see `jobs.data.records`). Arguments and errors as above.

    Labels of the rows are checked against `task.labels`, so that a language whose labels differ is a fault with its
    rows. Rows of one premise or context stay together when a split is cut by `hold_out`.
    """
    reading = Reading(task.kind, data.columns, data.label_names, task.labels)
    group = format_of(task.kind).grouped_by

    def from_file(data: DataRef, split: Split, cache: Path | None) -> datasets.Dataset:
        return record_table(data, reading, Path(dict(data.files)[split]), cache)

    def from_hub(data: DataRef, split: Split, cache: Path | None) -> datasets.Dataset:
        return hub_records(data, reading, split, cache)

    if data.source not in ("json", "hub"):
        raise InputError(Fault(f"no {task.kind} data from this source", describe(data), data.source, "use json or hub"))
    table = _part(data, split, cache, (from_file, from_hub), lambda whole: map(example_hash, whole[group]))
    _filled(table, data, split)
    return table


_Row = TypeVar("_Row")
_Reader = Callable[[DataRef, Split, Path | None], datasets.Dataset]
_Hashes = Callable[[datasets.Dataset], Iterator[int]]


def _file_texts(data: DataRef, split: Split, cache: Path | None) -> datasets.Dataset:
    return text_table(data, Path(dict(data.files)[split]), cache)


def _file_sentences(data: DataRef, split: Split, cache: Path | None) -> datasets.Dataset:
    return sentence_table(data, Path(dict(data.files)[split]), cache)


# (reader of local files, reader of hub data)
_TEXTS: tuple[_Reader, _Reader] = (_file_texts, hub_texts)
_SENTENCES: tuple[_Reader, _Reader] = (_file_sentences, hub_sentences)


def _file_rows(data: DataRef, split: Split, cache: Path | None) -> datasets.Dataset:
    return row_table(data, Path(dict(data.files)[split]), cache)


_ROWS: tuple[_Reader, _Reader] = (_file_rows, hub_rows)


def _part(
    data: DataRef, split: Split, cache: Path | None, readers: tuple[_Reader, _Reader], hashes: _Hashes
) -> datasets.Dataset:
    datasets.disable_progress_bars()  # progress is the command line's to show
    present = tuple(hub_splits(data, cache)) if data.source == "hub" else tuple(dict(data.files))

    def read(data: DataRef, split: Split, cache: Path | None) -> datasets.Dataset:
        from_hub = data.source == "hub"
        table = readers[from_hub](data, split, cache)
        return table if from_hub else _sliced(table, data, split)

    if split in present and (split != "train" or not data.hold_out):
        return _limited(read(data, split, cache), data, split)
    if not data.hold_out or "train" not in present:
        todo = "give a file for it, or set hold_out to cut it from train"
        raise InputError(Fault(f"no {split} split", describe(data), f"present: {', '.join(present)}", todo))
    whole = read(data, "train", cache)
    rows = cut(hashes(whole), split, present, data.hold_out, describe(data))
    return whole.select(np.sort(rows)[: _limit(len(rows), data, split)])


def _sliced(table: datasets.Dataset, data: DataRef, split: Split) -> datasets.Dataset:
    """The part of a file that its name in `splits` asks for, e.g. "validation[50%:]", by the rules of `datasets`."""
    name = dict(data.splits).get(split, split)
    if "[" not in name:
        return table
    try:
        instruction = datasets.ReadInstruction.from_spec(f"rows{name.removeprefix(plain_name(name))}")
        (part,) = instruction.to_absolute({"rows": len(table)})
    except (ValueError, AssertionError) as error:
        todo = 'write e.g. "validation[:50%]" or "validation[100:]"'
        raise InputError(Fault("not a slice of a split", describe(data), name, todo)) from error
    return table.select(range(part.from_ or 0, len(table) if part.to is None else part.to))


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
