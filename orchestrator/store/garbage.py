"""What of a workspace nobody refers to any more, and its removal. Campaigns' own files are never touched.

An artifact is kept when the latest plan of some campaign has its step, or when a kept artifact was made from it. A
checkpoint is kept while such a step is not finished. The rest of the plan-less, what damage left, what an ended run
left in `staging/` and `ray/`, and on request `cache/`, which is made again when it is needed, may go.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import Fault, InputError
from jobs.files.objects import object_key
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.backend import Keys
from orchestrator.store.lock import run_lock
from orchestrator.store.record import CorruptArtifactError, Record, read_record

CACHES = ("cache/datasets", "cache/tokenized", "cache/digests")
LEFT = {
    "staging/*/*": "left by a run that has ended",
    "rejected/*/*": "damaged, and computed again since",
    "redone/*/*": "came out otherwise when a finished step was computed again",
    "ray/*": "Ray's own results; the records have them",
}


@dataclass(frozen=True, slots=True)
class Garbage:
    """A directory that may go: its path inside the workspace, why, and what the backend deletes, with bytes."""

    path: str
    reason: str
    keys: Keys

    @property
    def bytes(self) -> int:
        """How much room it takes."""
        return sum(self.keys.values())


@dataclass(frozen=True, slots=True)
class Findings:
    """What may go, records before the objects that they name; and what is kept: reason -> (directories, bytes)."""

    garbage: tuple[Garbage, ...]
    kept: dict[str, tuple[int, int]]

    @property
    def bytes(self) -> int:
        """Room that would be free."""
        return sum(one.bytes for one in self.garbage)


def find_garbage(store: ArtifactStore, caches: str = "kept") -> Findings:
    """Look through the workspace; nothing is changed. `caches`: "kept" or "dropped".

    Raises InputError where it cannot be told what campaigns refer to: an index that cannot be read, artifacts without
    any campaign.
    """
    planned = planned_keys(store.root)
    needed = needed_records(store.root, planned)
    objects = {
        key: size
        for key, size in store.backend.folders("objects").get("objects", {}).items()
        if key.startswith("objects/")
    }
    own = {
        f"artifacts/{key}": {object_key(digest) for digest, _ in record.files.values()} & objects.keys()
        for key, record in needed.items()
        if record
    }
    garbage, kept = [], dict[str, tuple[int, int]]()
    for path, keys, stays, reason in _judged(store, planned, needed, caches):
        if stays:
            count, size = kept.get(reason, (0, 0))
            size += sum(keys.values()) + sum(objects[key] for key in own.get(path, ()))
            kept[reason] = (count + 1, size)
        else:
            garbage.append(Garbage(path, reason, keys))
    orphans = {key: objects[key] for key in sorted(objects.keys() - set().union(*own.values()))}
    if orphans:
        garbage.append(Garbage("objects", f"{len(orphans)} files that no kept artifact has", orphans))
    return Findings(tuple(garbage), kept)


def _judged(
    store: ArtifactStore, planned: frozenset[str], needed: Mapping[str, Record | None], caches: str
) -> Iterator[tuple[str, Keys, bool, str]]:
    """Path, what to delete to be rid of it, whether it stays, and why."""
    folders = store.backend.folders
    for path, keys in folders("artifacts/*/*").items():
        key = path.removeprefix("artifacts/")
        made_from = "artifacts that these were made from" if key in needed else "in no campaign's latest plan"
        yield path, keys, key in needed, "artifacts of a campaign's latest plan" if key in planned else made_from
    for path, keys in folders("checkpoints/*/*").items():
        key = path.removeprefix("checkpoints/")
        stays = key in planned and needed[key] is None
        spent = "a checkpoint that no unfinished step goes on from"
        yield path, keys, stays, "checkpoints of unfinished steps" if stays else spent
    for pattern, reason in LEFT.items():
        yield from ((path, keys, False, reason) for path, keys in folders(pattern).items())
    again = "caches, made again when they are needed (--caches drops them)"
    if caches == "dropped":
        again = "derived data, made again when it is needed"
    for cache in CACHES:
        yield from ((path, keys, caches == "kept", again) for path, keys in folders(cache).items())


def remove_garbage(store: ArtifactStore, caches: str = "kept") -> Findings:
    """Delete what `find_garbage` finds, holding the lock of runs meanwhile. Raises InputError when a run goes on."""
    with run_lock(store.root), store.lease("gc"):
        store.backend.pull("campaigns")
        findings = find_garbage(store, caches)
        store.backend.delete(key for one in findings.garbage for key in one.keys)
        store.backend.pull("artifacts")
    return findings


def planned_keys(root: Path) -> frozenset[str]:
    """Keys of all steps of the latest plan of every campaign."""
    indices = sorted((root / "campaigns").glob("*/index.json"))
    if not indices and any((root / "artifacts").glob("*/*")):
        todo = "run a campaign first, or remove the workspace by hand"
        raise InputError(Fault("no campaign says what its artifacts are for", str(root / "campaigns"), todo=todo))
    keys: set[str] = set()
    for file in indices:
        try:
            keys.update(map(str, json.loads(file.read_text(encoding="utf-8"))["steps"]))
        except (OSError, ValueError, KeyError, TypeError) as fault:
            what, todo = (
                "the index cannot be read, so nothing is deleted",
                "run that campaign again: it is written anew",
            )
            raise InputError(Fault(what, str(file), str(fault), todo)) from fault
    return frozenset(keys)


def needed_records(root: Path, planned: frozenset[str]) -> dict[str, Record | None]:
    """The planned keys and all that their artifacts were made from, with the records; None: not finished, or damaged.

    A damaged one `run` computes again from what the plan names.
    """
    needed, stack = dict[str, Record | None](), list(planned)
    while stack:
        key = stack.pop()
        if key in needed:
            continue
        try:
            needed[key] = record = read_record(root / "artifacts" / key)
        except CorruptArtifactError:
            needed[key] = record = None
        stack += record.inputs.values() if record else ()
    return needed
