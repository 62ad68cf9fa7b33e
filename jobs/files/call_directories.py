"""Where a call is carried out: in the workspace's own directories, or in a node's scratch beside a bucket.

Every executor opens its calls here before a job sees them and delivers what came of them. With a workspace on a
disk that all nodes share, both do nothing.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from jobs.files.bucket import Bucket
from jobs.files.objects import fetch_artifact, put_folder, record_key
from jobs.files.sync import BucketSync
from jobs.spec import BucketRef, JobCall, JobResult, Spec, SpecT

Outcome = TypeVar("Outcome", JobResult, JobResult | Exception)


class CallDirectories:
    """Directories of calls: created with what they need, results staged out. One per process that carries out calls."""

    def __init__(self) -> None:
        """Opens no bucket yet."""
        self._buckets: dict[BucketRef, tuple[Bucket, BucketSync, Path]] = {}

    def is_done(self, call: JobCall[Spec]) -> bool:
        """Whether the step is finished already: calls are repeated when their worker died, and may have been done."""
        if call.bucket is None:
            return not call.output.is_dir()  # moved into the store
        return self._at(call.bucket)[0].entry(record_key(call.name)) is not None

    def create(self, call: JobCall[SpecT]) -> JobCall[SpecT]:
        """The call with paths of this node, its inputs fetched and an earlier try's checkpoint restored.

        Raises DamagedObjectError for an input that is not in the bucket as its record says.
        """
        here = self.stage_in(call)
        if call.bucket is not None:
            _, replica, _ = self._at(call.bucket)
            replica.restore(_checkpoints(call), here.checkpoint)
            replica.watch(_checkpoints(call), here.checkpoint)
        return here

    def stage_in(self, call: JobCall[SpecT]) -> JobCall[SpecT]:
        """As `create`, for a worker that helps the one that created them: it has no part in its checkpoints."""
        if call.bucket is None:
            return call
        bucket, _, scratch = self._at(call.bucket)
        here = _moved(call, scratch)
        for place in call.inputs.values():
            key = place.relative_to(call.bucket.root / "artifacts").as_posix()
            fetch_artifact(bucket, key, scratch / "artifacts" / key)
        here.output.mkdir(parents=True, exist_ok=True)
        here.cache.mkdir(parents=True, exist_ok=True)
        return here

    def stage_out(self, call: JobCall[Spec], outcome: Outcome) -> Outcome:
        """The outcome, with the files of a success in the bucket and named in it. `call` as `create` gave it."""
        if call.bucket is None:
            return outcome
        bucket, replica, _ = self._at(call.bucket)
        replica.forget(_checkpoints(call))
        if isinstance(outcome, JobResult):
            return replace(outcome, files=put_folder(bucket, call.output))
        return outcome

    def sync(self) -> None:
        """Send checkpoints now: this process is about to leave. Raises BucketError."""
        for _, replica, _ in self._buckets.values():
            replica.sync()

    def _at(self, reference: BucketRef) -> tuple[Bucket, BucketSync, Path]:
        if reference not in self._buckets:
            bucket = Bucket(reference.uri)
            self._buckets[reference] = bucket, BucketSync(bucket), scratch_of(bucket.uri)
        return self._buckets[reference]


def scratch_of(uri: str) -> Path:
    """This node's directory for a workspace in a bucket: derived data alone, it may be deleted at any time.

    Below ADAPTERFLEET_SCRATCH (default: ~/.cache/adapterfleet), which may differ from node to node.
    """
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    base = os.environ.get("ADAPTERFLEET_SCRATCH") or Path(caches) / "adapterfleet"
    return Path(base).resolve() / hashlib.sha256(uri.encode()).hexdigest()[:16]


def _moved(call: JobCall[SpecT], scratch: Path) -> JobCall[SpecT]:
    assert call.bucket is not None
    root = call.bucket.root

    def here(path: Path) -> Path:
        return scratch / path.relative_to(root)

    inputs = {role: here(place) for role, place in call.inputs.items()}
    return replace(
        call,
        inputs=inputs,
        output=here(call.output),
        checkpoint=here(call.checkpoint),
        cache=here(call.cache),
        bucket=replace(call.bucket, root=scratch),
    )


def _checkpoints(call: JobCall[Spec]) -> str:
    return f"checkpoints/{call.name}"
