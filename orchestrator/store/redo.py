"""Finished steps computed again on purpose: what comes out is compared with what is there, and that stays."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.errors import Fault, InputError, raise_all
from jobs.files.atomic import write_text
from jobs.files.digest import folder_digests
from jobs.spec import JobResult
from orchestrator.store.artifacts import ArtifactStore, make_record
from orchestrator.store.explain import differences, find_step
from orchestrator.store.jsonl import dump_line
from orchestrator.store.layout import RECORD_FILE
from orchestrator.store.record import CorruptArtifactError, Record, dump_record, read_record
from orchestrator.store.step import Step

REDONE = "redone"  # the folder of a workspace for what came out otherwise
REDO_LOG = "redo.jsonl"  # of a campaign: a line for each step that was computed again
# What no two executions have in common, or what says where one took place.
_PASSING = frozenset({
    "seconds", "share_seconds", "tokens_per_second", "memory_bytes", "mfu", "machine", "hits", "computed",
    "resumed_from_step", "checkpoints_not_used",
})  # fmt: skip
_SHOWN = 4  # differences that are told


@dataclass(frozen=True, slots=True)
class Redone:
    """One step that was computed again, whether it came out equal, and what is to be said of it."""

    key: str
    equal: bool
    told: str

    def __str__(self) -> str:
        """In a line."""
        return f"{'equal' if self.equal else 'differs'}: {self.key}: {self.told}"


def steps_to_redo(steps: Sequence[Step], names: Iterable[str]) -> frozenset[str]:
    """Keys of the steps of these names, as `explain` takes them. Raises InputError for all that fit none or several."""
    keys, faults = set(), list[Fault]()
    for name in names:
        try:
            keys.add(find_step(steps, name).key)
        except InputError as error:
            faults += error.faults
    raise_all(faults)
    return frozenset(keys)


class RedoStore(ArtifactStore):
    """The store of a run that computes some finished steps again.

    Their artifacts stay where they are, and stay the inputs of others, whatever comes out: nothing is lost by a kill,
    and every record's lineage is true. What came out otherwise goes to `redone/`, with a record of its own.
    """

    def __init__(self, store: ArtifactStore, keys: frozenset[str], folder: Path) -> None:
        """`keys`: of the steps; those that are not finished are done as always. `folder`: the campaign's."""
        super().__init__(store.backend)
        self.redone: list[Redone] = []
        self._log = folder / REDO_LOG
        self._again = {record.key: record for key in keys if (record := read_record(self.path(key)))}

    def again(self, step: Step) -> bool:
        """Whether it is a finished step that is computed again."""
        return step.key in self._again

    def commit(self, step: Step, staging: Path, result: JobResult, provenance: Mapping[str, Any]) -> Record:
        """Of a step that is done again the record that it has already."""
        before = self._again.get(step.key)
        if before is None:
            return super().commit(step, staging, result, provenance)
        try:
            self.verify(before)
        except CorruptArtifactError as damage:
            damaged = self.reject(step.key)
            told = f"what was there is damaged ({damage}) and now in {damaged}; this is the artifact now"
            self._note(before, provenance, Redone(step.key, False, told))
            return super().commit(step, staging, result, provenance)
        after = make_record(step, {**result.files, **folder_digests(staging)}, result, provenance)
        found = list(_differences(before, after, self.path(step.key), staging))
        if found:
            more = [f"{len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
            kept = self._keep(after, staging)
            told = f"{', '.join([*found[:_SHOWN], *more])}; the artifact stays, what came out is in {kept}"
        else:
            told = f"{len(before.files)} files, byte for byte, and all numbers"
        self._note(before, provenance, Redone(step.key, not found, told))
        self.discard(step)
        self.backend.drop_checkpoints(step.key)
        return before

    def _keep(self, record: Record, staging: Path) -> Path:
        target = self.root / REDONE / f"{record.key}-{time.time_ns()}"
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(staging / RECORD_FILE, dump_record(record))
        staging.replace(target)
        return target

    def _note(self, before: Record, provenance: Mapping[str, Any], redone: Redone) -> None:
        self.redone.append(redone)
        said = {"key": redone.key, "equal": redone.equal, "told": redone.told}
        line = {**said, "before": before.provenance, "after": dict(provenance)}
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("a", encoding="utf-8") as stream:
            stream.write(dump_line(line) + "\n")


def _differences(before: Record, after: Record, old: Path, new: Path) -> Iterator[str]:
    for name in sorted(before.files.keys() | after.files.keys()):
        if name not in after.files or name not in before.files:
            yield f"{name} is {'missing' if name in before.files else 'new'}"
        elif before.files[name] != after.files[name]:
            yield f"{name}{_by_how_much(old / name, new / name)}"
    for part in ("metrics", "series", "details"):
        then, now = (json.loads(json.dumps(getattr(record, part))) for record in (before, after))
        for one in differences(then, now, part):
            if not _PASSING & set(one.path.split(".")):
                yield f"{one.path} {_short(one.before)} -> {_short(one.now)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _by_how_much(old: Path, new: Path) -> str:
    """Of tensors with the same names and shapes the largest difference, relative to the largest value."""
    if old.suffix != ".safetensors" or not (old.is_file() and new.is_file()):
        return ""
    from safetensors.torch import load_file

    one, other = load_file(old), load_file(new)
    if {name: value.shape for name, value in one.items()} != {name: value.shape for name, value in other.items()}:
        return " (other tensors)"
    off = max((float((one[name].double() - other[name].double()).abs().max()) for name in one), default=0.0)
    largest = max((float(value.double().abs().max()) for value in one.values()), default=0.0)
    return f" (by at most {off / largest if largest else off:.2g} of its largest value)"
