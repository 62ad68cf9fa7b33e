"""What of a workspace in a bucket nobody refers to, and its removal: `garbage`, by the keys of objects.

Records decide, as in a directory. An object (the bytes of one or several artifacts' files) is kept while the record of
a kept artifact names it. Nothing is deleted without the lease: whoever runs a campaign holds it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from jobs.files.bucket import Entry
from jobs.files.objects import object_key
from orchestrator.bucket_store import BucketStore
from orchestrator.garbage import Findings, Garbage, needed_keys, planned_keys
from orchestrator.lease import Lease
from orchestrator.record import Record
from orchestrator.store import CorruptArtifactError


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
