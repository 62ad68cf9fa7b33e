"""What of a workspace nobody refers to any more, and its removal. Campaigns' own files are never touched.

An artifact is kept when the latest plan of some campaign has its step, or when a kept artifact was made from it. A
checkpoint is kept while such a step is not finished. The rest of the plan-less, what damage left, what an ended run
left in `staging/` and `ray/`, and on request `cache/`, which is made again when it is needed, may go.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import Fault, InputError
from jobs.files.bucket import Entry
from jobs.files.objects import object_key
from orchestrator.store.bucket import BucketStore
from orchestrator.store.layout import RECORD_FILE
from orchestrator.store.lease import Lease
from orchestrator.store.lock import run_lock
from orchestrator.store.record import CorruptArtifactError, Record, read_record


@dataclass(frozen=True, slots=True)
class Garbage:
    """A directory that may go: its path inside the workspace, why, and how much room it takes."""

    path: str
    reason: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Findings:
    """What may go, and what is kept: reason -> (directories, bytes)."""

    garbage: tuple[Garbage, ...]
    kept: dict[str, tuple[int, int]]

    @property
    def bytes(self) -> int:
        """Room that would be free."""
        return sum(one.bytes for one in self.garbage)


@dataclass(frozen=True, slots=True)
class Sweep:
    """What was found, and the keys of the bucket that may go: records before the objects that they name."""

    findings: Findings
    keys: tuple[str, ...]


def find_in_bucket(store: BucketStore) -> Sweep:
    """Look through the bucket; nothing is changed. Raises InputError as `garbage.find_garbage` does."""
    planned = planned_keys(store.root)
    needed = needed_keys(store.root, planned)
    records = {record.key: record for record in store.records(_passed_over)}
    there = {name: store.bucket.list(name) for name in ("artifacts", "objects", "checkpoints", "rejected")}
    kept = [record for key, record in records.items() if key in needed]
    named = {object_key(digest) for record in kept for digest, _ in record.files.values()}
    unfinished = {f"checkpoints/{key}" for key in planned - records.keys()}
    gone: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key in there["artifacts"]:
        if _folder(key).removeprefix("artifacts/") not in needed:
            gone[_folder(key), "in no campaign's latest plan"].append(key)
    for key in there["checkpoints"]:
        if _folder(key) not in unfinished:
            gone[_folder(key), "a checkpoint that no unfinished step goes on from"].append(key)
    for key in there["rejected"]:
        gone[_folder(key), "damaged, and computed again since"].append(key)
    orphans = sorted(there["objects"].keys() - named)
    if orphans:
        gone["objects", f"{len(orphans)} files that no kept artifact has"] = orphans
    sizes = {key: entry.size for found in there.values() for key, entry in found.items()}
    garbage = [Garbage(path, why, sum(sizes[key] for key in keys)) for (path, why), keys in gone.items()]
    findings = Findings(tuple(garbage), _kept(planned, kept, there["checkpoints"], unfinished))
    return Sweep(findings, tuple(key for keys in gone.values() for key in keys))


def remove_from_bucket(store: BucketStore) -> Findings:
    """Delete what `find_in_bucket` finds, holding the lease meanwhile. Raises InputError when a run goes on."""
    with Lease(store.bucket, "gc"):
        store.pull_records()
        store.pull_campaigns()
        sweep = find_in_bucket(store)
        store.bucket.delete(sweep.keys)
        store.pull_records()
    return sweep.findings


def _kept(
    planned: frozenset[str], records: list[Record], checkpoints: dict[str, Entry], unfinished: set[str]
) -> dict[str, tuple[int, int]]:
    """Reason -> (artifacts or steps, bytes). Bytes that several artifacts share count for each."""
    kept: dict[str, tuple[int, int]] = {}
    for record in records:
        reason = "artifacts of a campaign's latest plan" if record.key in planned else "artifacts these were made from"
        count, size = kept.get(reason, (0, 0))
        kept[reason] = (count + 1, size + sum(length for _, length in record.files.values()))
    left = {key: entry.size for key, entry in checkpoints.items() if _folder(key) in unfinished}
    if left:
        kept["checkpoints of unfinished steps"] = (len({_folder(key) for key in left}), sum(left.values()))
    return kept


def _folder(key: str) -> str:
    """`artifacts/<job>/<name>/...` -> `artifacts/<job>/<name>`."""
    return "/".join(key.split("/")[:3])


def _passed_over(damage: CorruptArtifactError) -> None:
    """A record that cannot be read: `run` computes its step again, with other objects if need be."""


DERIVED = ("datasets", "tokenized", "digests")


def find_garbage(root: Path, caches: str = "kept") -> Findings:
    """Look through the workspace at `root`; nothing is changed. `caches`: "kept" or "dropped".

    Raises InputError where it cannot be told what campaigns refer to: an index that cannot be read, artifacts without
    any campaign.
    """
    planned = planned_keys(root)
    needed = needed_keys(root, planned)
    garbage, kept = [], dict[str, tuple[int, int]]()

    def keep(reason: str, folder: Path) -> None:
        count, size = kept.get(reason, (0, 0))
        kept[reason] = (count + 1, size + _size(folder))

    for key, folder in _steps(root / "artifacts"):
        if key in planned:
            keep("artifacts of a campaign's latest plan", folder)
        elif key in needed:
            keep("artifacts that these were made from", folder)
        else:
            garbage.append(_garbage(root, folder, "in no campaign's latest plan"))
    for key, folder in _steps(root / "checkpoints"):
        if key in planned and not (root / "artifacts" / key / RECORD_FILE).is_file():
            keep("checkpoints of unfinished steps", folder)
        else:
            garbage.append(_garbage(root, folder, "a checkpoint that no unfinished step goes on from"))
    garbage += [_garbage(root, folder, "left by a run that has ended") for _, folder in _steps(root / "staging")]
    garbage += [_garbage(root, folder, "damaged, and computed again since") for _, folder in _steps(root / "rejected")]
    garbage += [_garbage(root, folder, "Ray's own results; the records have them") for folder in _folders(root / "ray")]
    for folder in (root / "cache" / name for name in DERIVED):
        if folder.is_dir() and caches == "dropped":
            garbage.append(_garbage(root, folder, "derived data, made again when it is needed"))
        elif folder.is_dir():
            keep("caches, made again when they are needed (--caches drops them)", folder)
    return Findings(tuple(garbage), kept)


def remove_garbage(root: Path, caches: str = "kept") -> Findings:
    """Delete what `find_garbage` finds, holding the lock of runs meanwhile. Raises InputError when a run goes on."""
    with run_lock(root):
        findings = find_garbage(root, caches)
        for one in findings.garbage:
            folder = root / one.path
            # First what makes an artifact complete: a kill half-way leaves nothing that looks finished.
            (folder / RECORD_FILE).unlink(missing_ok=True)
            shutil.rmtree(folder)
    return findings


def planned_keys(root: Path) -> frozenset[str]:
    """Keys of all steps of the latest plan of every campaign."""
    indices = sorted((root / "campaigns").glob("*/index.json"))
    if not indices and any(_steps(root / "artifacts")):
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


def needed_keys(root: Path, planned: frozenset[str]) -> set[str]:
    """The planned keys and everything that their artifacts were made from."""
    needed, stack = set(planned), list(planned)
    while stack:
        try:
            record = read_record(root / "artifacts" / stack.pop())
        except CorruptArtifactError:
            continue  # damaged: `run` computes it again from what the plan names
        inputs = record.inputs.values() if record else ()
        stack += [key for key in inputs if key not in needed]
        needed.update(inputs)
    return needed


def _steps(folder: Path) -> Iterator[tuple[str, Path]]:
    for job in _folders(folder):
        yield from ((f"{job.name}/{step.name}", step) for step in _folders(job))


def _folders(folder: Path) -> list[Path]:
    """Real directories: a link is nobody's to follow, nor to delete through."""
    return sorted(f for f in folder.iterdir() if f.is_dir() and not f.is_symlink()) if folder.is_dir() else []


def _garbage(root: Path, folder: Path, reason: str) -> Garbage:
    return Garbage(folder.relative_to(root).as_posix(), reason, _size(folder))


def _size(folder: Path) -> int:
    return sum(f.lstat().st_size for f in folder.rglob("*") if f.is_symlink() or f.is_file())
