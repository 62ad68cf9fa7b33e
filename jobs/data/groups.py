"""Which examples of a split are about the same text, and so are no independent evidence."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from jobs.data.load import example_hash, load_records
from jobs.data.prompts import prompted_rows
from jobs.data.records import format_of, shared_text
from jobs.runtime.phases import phase
from jobs.spec import HEAD_COLUMNS, DataRef, Split, TaskRef


@phase("preparing")
def example_groups(data: DataRef, split: Split, task: TaskRef, cache: Path | None = None) -> tuple[str, ...]:
    """For each example 16 hex digits of what it shares with others: a context, a premise, the value of `group`.

    Empty where no two examples share one, and for kinds whose examples stand alone (tagging, held-out text). Raises
    InputError for faulty data.
    """
    if task.prompt:
        rows = prompted_rows(data, split, task, cache)
        return _named(shared_text(row) or f"alone: {where}" for where, row, _ in rows)
    if task.kind in HEAD_COLUMNS:
        return _named(load_records(data, split, task, cache)[format_of(task.kind).grouped_by])
    return ()


def _named(texts: Iterable[str]) -> tuple[str, ...]:
    names = tuple(f"{example_hash(text):016x}" for text in texts)
    return names if len(set(names)) < len(names) else ()
