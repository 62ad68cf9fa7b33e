"""What steps read, looked at before anything is trained: a wrong commit or a faulty row of the last one costs no night.

Names on the hub are asked for; labelled files are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.data.resolve import DIRECTORY
from jobs.data.sentences import check_tags
from jobs.errors import Fault, InputError, raise_all
from jobs.files.digest import DIGEST_PREFIX
from jobs.spec import (
    TAGGING,
    AdapterRef,
    BackboneRef,
    DataRef,
    EvaluationSpec,
    SearchSpec,
    Split,
    TaskAdapterSpec,
    TaskRef,
    is_language_model,
)
from orchestrator.plan.pinned_references import references_in
from orchestrator.store.step import Step


@dataclass(frozen=True, slots=True)
class _Set:
    """Labelled rows that a step reads, in rows of at most `max_length` tokens of `backbone`'s tokenizer."""

    task: TaskRef
    data: DataRef
    split: Split
    backbone: BackboneRef
    max_length: int


def check_task_data(steps: Iterable[Step], cache: Path) -> None:
    """Raise InputError with every faulty row of the files that the steps will read.

    What is read is kept in `cache`, as the steps would keep it. Files that are not on this machine, and data sets of
    the hub, are left to the steps.
    """
    wanted = dict.fromkeys(one for step in steps for one in _sets(step))
    faults: list[Fault] = []
    for one in wanted:
        try:
            _read(one, cache)
        except InputError as wrong:
            faults += wrong.faults
    raise_all(dict.fromkeys(faults))


def _sets(step: Step) -> Iterator[_Set]:
    spec = step.spec
    match spec:
        case TaskAdapterSpec():
            splits: tuple[Split, ...] = ("train", "validation")
            length = spec.training.max_length
            found = [(data, split, length) for data in (spec.data, *spec.more_data) for split in splits]
        case SearchSpec():
            found = [(spec.data, "validation", spec.max_length)]
        case EvaluationSpec():
            found = [(spec.data, spec.split, spec.max_length)]
        case _:
            return
    if not is_language_model(spec.task.kind):
        yield from (
            _Set(spec.task, data, split, spec.backbone, length) for data, split, length in found if _lies_here(data)
        )


def _lies_here(data: DataRef) -> bool:
    """In files, or in a directory of the hub's layout."""
    return (
        data.source not in ("cldr", "text") and bool(data.files) and all(Path(path).exists() for _, path in data.files)
    )


def _read(one: _Set, cache: Path) -> None:
    """As the steps read it. Raises InputError with every faulty row."""
    from jobs.data.load import describe, load_records, load_tagged
    from jobs.data.prompts import prompted_texts

    task, data, split = one.task, one.data, one.split
    if task.prompt:
        here = task.examples is None or _lies_here(task.examples.data)
        prompted_texts(data, split, task if here else replace(task, examples=None), cache)
    elif task.kind in TAGGING:
        check_tags(load_tagged(data, split, cache, task.kind), task.labels, f"{describe(data)} {split}")
    elif task.kind == "qa" and Path(one.backbone.path).is_dir():
        from jobs.tokens.token_windows import token_windows

        token_windows(data, split, task, one.backbone, one.max_length, cache)  # contexts that no window holds
    else:
        load_records(data, split, task, cache)


_SECONDS = 10.0  # that a hub has for an answer


@dataclass(frozen=True, slots=True)
class _Repository:
    kind: str  # "model" or "dataset", as the hub calls them
    name: str
    commit: str


def check_hub_names(steps: Iterable[Step]) -> None:
    """Raise InputError with every model and data set of the steps, which are to run, that the hub does not give.

    Those are unknown names and commits, and repositories that ask for a consent which the token has not. A hub that
    does not answer is no fault: what steps need may lie in a cache, or be within their nodes' reach alone.
    """
    values = (value for step in steps for value in references_in(step.spec))
    wanted = dict.fromkeys(one for value in values if (one := _on_hub(value)))
    if wanted:
        raise_all([fault for one in wanted if (fault := _fault(one))])


def _on_hub(value: AdapterRef | BackboneRef | DataRef) -> _Repository | None:
    if isinstance(value, AdapterRef):
        return None  # the plan has fetched it
    if isinstance(value, DataRef):
        local = value.source != "hub" or DIRECTORY in dict(value.files)
        return None if local else _Repository("dataset", value.dataset, value.revision)
    source = value.path or value.name
    local = value.revision.startswith(DIGEST_PREFIX) or Path(source).is_dir()
    return None if local else _Repository("model", source, value.revision)


def _fault(one: _Repository) -> Fault | None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from requests.exceptions import RequestException

    api, where = HfApi(), f"{one.kind} {one.name}"
    try:
        if api.repo_info(one.name, revision=one.commit, repo_type=one.kind, timeout=_SECONDS).gated:
            api.auth_check(one.name, repo_type=one.kind)
    except GatedRepoError:
        return Fault(
            "the hub asks for consent first", where, todo="give it on its page, and set HF_TOKEN to your token"
        )
    except RevisionNotFoundError:
        return Fault("the hub has no such commit", where, one.commit, "pin one from its history")
    except (RepositoryNotFoundError, HFValidationError):
        return Fault("the hub has no such name", where, todo="check it; a private one needs HF_TOKEN")
    except (OfflineModeIsEnabled, RequestException):
        return None
    return None
