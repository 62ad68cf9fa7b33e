"""Rows of integers of different lengths in one memory-mapped Arrow file, written whole or not at all."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray

from jobs.files.atomic import replacing

Ids = NDArray[np.int32]
T = TypeVar("T")
# Rows held in memory while writing; also the unit in which a file is mapped.
BATCH = 10_000
_META = "meta"
# One row: one sequence per column.
_Row = Sequence[Sequence[int] | Ids]


@dataclass(frozen=True, slots=True)
class _Chunk:
    """One column of one record batch, without a copy: row i is values[offsets[i]:offsets[i + 1]]."""

    offsets: NDArray[np.int64]
    values: Ids


class RaggedFile:
    """A file of `write_ragged`: `row(column, i)` is a read-only view of the mapped file."""

    def __init__(self, path: Path) -> None:
        """Map `path`. Raises OSError or pyarrow.ArrowInvalid when it is absent, truncated or no such file."""
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
            parts = [reader.get_batch_with_custom_metadata(place) for place in range(reader.num_record_batches)]
            names = reader.schema.names
        batches = [part.batch for part in parts]
        # The counts grow while rows are written: those of the last batch are the file's.
        self.meta: dict[str, Any] = json.loads(parts[-1].custom_metadata[_META])
        self._columns = {name: [_chunk(batch.column(name)) for batch in batches] for name in names}
        self._starts = np.cumsum([0, *(batch.num_rows for batch in batches)])

    def __len__(self) -> int:
        """Number of rows."""
        return int(self._starts[-1])

    def row(self, column: str, index: int) -> Ids:
        """Row `index`, 0 <= index < len. Raises IndexError beyond."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        chunk, place = self._columns[column][number], index - int(self._starts[number])
        return chunk.values[chunk.offsets[place] : chunk.offsets[place + 1]]

    def lengths(self, column: str) -> NDArray[np.int64]:
        """Length of every row."""
        parts = [np.diff(chunk.offsets) for chunk in self._columns[column]]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


class RaggedRows(Sequence[T]):
    """The rows of a file as values: `[i]`, slices and negative places; a subclass says what one row is."""

    def __init__(self, file: RaggedFile) -> None:
        """Wrap `file`."""
        self._file = file

    def __len__(self) -> int:
        return len(self._file)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return self._value(index + len(self) if index < 0 else index)

    @abstractmethod
    def _value(self, place: int) -> T:
        """Row `place`. Raises IndexError beyond."""


def _chunk(array: pa.LargeListArray) -> _Chunk:
    return _Chunk(np.asarray(array.offsets), array.values.to_numpy(zero_copy_only=True))


def write_ragged(path: Path, columns: Sequence[str], rows: Iterable[_Row], meta: Mapping[str, Any]) -> None:
    """Write `rows` (one sequence per column each) and then put the file at `path` by rename.

    Writers may race: each writes a draft of its own and the last one stays. `meta` is read after the last row,
    so that the iterator of `rows` may fill it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([pa.field(name, pa.large_list(pa.int32())) for name in columns])
    with replacing(path) as tmp, pa.OSFile(str(tmp), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in _batches(rows):
            arrays = [_large_list([row[place] for row in batch]) for place in range(len(columns))]
            note = {_META: json.dumps(meta, sort_keys=True).encode()}
            writer.write_batch(pa.record_batch(arrays, schema=schema), custom_metadata=note)


def _batches(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    """Rows in portions of `BATCH`; the last one, possibly empty, is yielded after the iterator has ended."""
    pending: list[_Row] = []
    for row in rows:
        pending.append(row)
        if len(pending) == BATCH:
            yield pending
            pending = []
    yield pending


def _large_list(rows: Sequence[Sequence[int] | Ids]) -> pa.LargeListArray:
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    values = np.concatenate([np.zeros(0, dtype=np.int32), *(np.asarray(row, dtype=np.int32) for row in rows)])
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))
