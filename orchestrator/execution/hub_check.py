"""Names on the hub, asked for before anything is trained: a wrong commit of the last data set costs no night."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

from jobs.data.resolve import DIRECTORY
from jobs.errors import Fault, raise_all
from jobs.files.digest import DIGEST_PREFIX
from jobs.spec import BackboneRef, DataRef
from orchestrator.store.step import Step

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
    values = (value for step in steps for value in _references(step.spec))
    wanted = dict.fromkeys(one for value in values if (one := _on_hub(value)))
    if wanted:
        raise_all([fault for one in wanted if (fault := _fault(one))])


def _references(value: object) -> Iterator[BackboneRef | DataRef]:
    if isinstance(value, (BackboneRef, DataRef)):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _references(part)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _references(getattr(value, field.name))


def _on_hub(value: BackboneRef | DataRef) -> _Repository | None:
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
