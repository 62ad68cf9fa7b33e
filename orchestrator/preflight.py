"""Labelled files of a plan, read before anything is trained: a faulty row of the last language costs no night."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from jobs.errors import Fault, InputError, raise_all
from jobs.spec import DataRef, EvaluationSpec, SearchSpec, Split, TaskAdapterSpec, TaskRef, is_language_model
from orchestrator.step import Step
from orchestrator.store import ArtifactStore

_Set = tuple[TaskRef, DataRef, Split]


def check_task_data(steps: Iterable[Step], store: ArtifactStore) -> None:
    """Raise InputError with every faulty row of the files that steps without an artifact will read.

    What is read is kept as the steps would keep it. Files that are not on this machine, and data sets of the hub, are
    left to the steps.
    """
    wanted = dict.fromkeys(one for step in steps if not store.has(step) for one in _sets(step))
    if not wanted:
        return
    faults: list[Fault] = []
    for task, data, split in wanted:
        try:
            _read(task, data, split, store.cache)
        except InputError as wrong:
            faults += wrong.faults
    raise_all(dict.fromkeys(faults))


def _sets(step: Step) -> Iterator[_Set]:
    spec = step.spec
    match spec:
        case TaskAdapterSpec():
            splits: tuple[Split, ...] = ("train", "validation")
            found = [(spec.task, data, split) for data in (spec.data, *spec.more_data) for split in splits]
        case SearchSpec():
            found = [(spec.task, spec.data, "validation")]
        case EvaluationSpec():
            found = [(spec.task, spec.data, spec.split)]
        case _:
            found = []
    yield from (one for one in found if not is_language_model(one[0].kind) and _lies_here(one[1]))


def _lies_here(data: DataRef) -> bool:
    return data.source in ("json", "conll") and all(Path(path).is_file() for _, path in data.files)


def _read(task: TaskRef, data: DataRef, split: Split, cache: Path) -> None:
    """As the steps read it. Raises InputError with every faulty row."""
    from jobs.data.load import describe, load_ner, load_records
    from jobs.data.prompts import prompted_texts
    from jobs.data.sentences import check_tags

    if task.prompt:
        prompted_texts(data, split, task, cache)
    elif task.kind == "ner":
        check_tags(load_ner(data, split, cache), task.labels, f"{describe(data)} {split}")
    else:
        load_records(data, split, task, cache)
