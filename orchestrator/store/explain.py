"""Why a step is new: its hashed payload against the nearest record of the same name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from jobs.errors import Fault, InputError
from orchestrator.store.record import Record
from orchestrator.store.step import Step, payload

MANY = 2000  # names that are compared letter by letter


@dataclass(frozen=True, slots=True)
class Difference:
    """One value of the payload that differs: dotted path, the record's value and the plan's; None where absent."""

    path: str
    before: Any
    now: Any


@dataclass(frozen=True, slots=True)
class Explanation:
    """`record` is the nearest finished step of that job and name; None when there is none."""

    step: Step
    record: Record | None
    differences: tuple[Difference, ...]


def find_step(steps: Iterable[Step], wanted: str) -> Step:
    """The step whose key, or `job/name`, or name, is or begins with `wanted`. Raises InputError with suggestions."""
    known = list(steps)
    exact = [s for s in known if wanted in (s.key, f"{s.job}/{s.name}", s.name)]
    found = exact or [s for s in known if s.key.startswith(wanted) or s.name.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    names = [f"{s.job}/{s.name}" for s in (found or known)]
    near = names[:5] if found else _near(wanted, names)
    what = "several steps have that name" if found else "no step has that name"
    raise InputError(
        Fault(what, "STEP", wanted, f"try {' or '.join(near)}" if near else "see `adapterfleet plan --all`")
    )


def _near(wanted: str, names: list[str]) -> list[str]:
    """Names like the wanted one, else steps of a job like it; of very many, those that begin like it are looked at."""
    by_name = {name.split("/", 1)[1]: name for name in names}
    likely = list(by_name)
    if len(likely) > MANY:
        likely = [name for name in by_name if name[:2] == wanted[:2]][:MANY]
    near = difflib.get_close_matches(wanted.rsplit("/", 1)[-1], likely, 5, 0.4)
    jobs = {name.split("/", 1)[0] for name in names}
    job = difflib.get_close_matches(wanted.split("/", 1)[0], jobs, 1)
    alike = [name for name in names if name.startswith(f"{job[0]}/")] if job else []
    return [by_name[name] for name in near] or alike[:5]


def explain(step: Step, records: Iterable[Record]) -> Explanation:
    """Compare a step with the record of the same job and name that differs least."""
    alike = [record for record in records if record.job == step.job and record.name == step.name]
    now = payload(step)
    if not alike:
        return Explanation(step, None, ())
    nearest = min(alike, key=lambda r: (len(list(differences(r.payload, now, ""))), r.key))
    return Explanation(step, nearest, tuple(differences(nearest.payload, now, "")))


def differences(before: Any, now: Any, path: str) -> Iterator[Difference]:
    """Every value in which two trees of plain JSON differ; `path`: where they stand."""
    if isinstance(before, dict | None) and isinstance(now, dict | None):  # None: a part that is all at its default
        there, here = before or {}, now or {}
        for key in sorted(there.keys() | here.keys()):
            yield from differences(there.get(key), here.get(key), f"{path}.{key}" if path else key)
    elif before != now:
        yield Difference(path, before, now)
