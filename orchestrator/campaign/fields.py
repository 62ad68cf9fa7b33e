"""Fields that sections of the campaign file share, and the type of all sections."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from jobs.errors import InputError
from jobs.files.digest import COMMIT
from search_spaces.relatedness.codes import resolve_language
from search_spaces.relatedness.distances import kind_faults
from search_spaces.relatedness.text_distances import TEXT_KINDS

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what every source of random numbers takes


def _known_language(code: str) -> str:
    try:
        resolve_language(code)
    except InputError as unknown:
        fault = unknown.faults[0]
        raise ValueError(f"{fault.what}; {fault.todo}") from unknown
    return code.strip()


def _known_distance(by: str) -> str:
    if faults := kind_faults(by, tuple(TEXT_KINDS)):
        raise ValueError("; ".join(f"{fault.what} {fault.got}: {fault.todo}" for fault in faults))
    return by


def as_list(value: object) -> object:
    """A text alone as a list of one."""
    return (value,) if isinstance(value, str) else value


def check_pinned(name: str, revision: str) -> None:
    """Raise ValueError unless what is called `name` on a hub is given at a commit."""
    if not COMMIT.fullmatch(revision):
        raise ValueError(f"{name} needs `revision`: the commit's 40 hex digits, not a branch")


def check_inside(directory: str) -> None:
    """Raise ValueError for a `directory` that leads out of its repository."""
    if directory.startswith("/") or ".." in directory.split("/"):
        raise ValueError("`directory` lies inside the repository: leave out / at its start and ..")


Distance = Annotated[str, AfterValidator(_known_distance)]
LanguageCode = Annotated[str, AfterValidator(_known_language)]


class StrictModel(BaseModel):
    """A part of the file: frozen, no key beyond those named, and no number that is none."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)
