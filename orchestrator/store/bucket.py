"""BucketStore: the same workspace in a bucket. Its `root` is this node's scratch; the bucket alone is the truth.

Layout of the bucket:

    workspace.json                              format of the workspace
    objects/<2 digits>/<sha256>                 bytes of artifacts' files, see `jobs.files.objects`
    artifacts/<job>/<name>-<fp12>/record.json   written last and only where none is; its presence means complete
    checkpoints/<job>/<name>-<fp12>/            copies of what a killed training or search goes on from
    campaigns/<name>/                           copies of index, events, status and report
    locks/                                      the lease of the run that goes on, see `lease`
    rejected/                                   records whose files did not match them
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobs.errors import Fault, InputError
from jobs.files.atomic import write_bytes
from jobs.files.bucket import Bucket, BucketError, safe_names
from jobs.files.call_directories import scratch_of
from jobs.files.digest import sha256
from jobs.files.objects import DamagedObjectError, fetch_files, object_key, put_folder, record_key
from jobs.files.sync import BucketSync
from jobs.spec import BucketRef, JobResult
from orchestrator.store.artifacts import ArtifactStore, make_record
from orchestrator.store.layout import BUCKET_FILE, RECORD_FILE, WORKSPACE_FORMAT, check_format
from orchestrator.store.lease import Lease
from orchestrator.store.lock import is_held
from orchestrator.store.record import CorruptArtifactError, Record, dump_record, parse_record
from orchestrator.store.step import Step

CAMPAIGNS, STATUS_FILE = "campaigns", "status.json"


class BucketStore(ArtifactStore):
    """Artifacts of finished steps in a bucket; what is read of them lies in the scratch directory too."""

    def __init__(self, uri: str) -> None:
        """Open the workspace and bring its records here. Raises InputError when that cannot be done."""
        self.bucket = Bucket(uri)
        try:
            _check_workspace(self.bucket)
            super().__init__(scratch_of(self.bucket.uri))
            (self.root / BUCKET_FILE).write_text(json.dumps({"uri": self.bucket.uri}) + "\n", encoding="utf-8")
            self.pull_records()
        except BucketError as fault:
            todo = "check the address, the network and the credentials"
            raise InputError(Fault("the bucket cannot be used", "--workspace", str(fault), todo)) from fault
        self._sizes: dict[str, int] | None = None

    @property
    def reference(self) -> BucketRef | None:
        """The bucket, and the scratch directory that calls' paths are below."""
        return BucketRef(self.bucket.uri, self.root)

    @contextmanager
    def lease(self, campaign: str) -> Iterator[Callable[[], None]]:
        """Hold the workspace's lease; the campaign's status and report go to the bucket while it is held."""
        folder = self.root / CAMPAIGNS / campaign
        with Lease(self.bucket, campaign) as lease:
            self.pull_records()  # what the last holder finished
            replica = BucketSync(self.bucket)
            replica.watch(f"{CAMPAIGNS}/{campaign}", folder)
            try:
                yield lease.check
            finally:
                replica.close()

    def is_running(self, campaign: str) -> bool:
        """Whether a run of the campaign goes on now, on any machine."""
        holder = Lease(self.bucket, "").holder()
        return super().is_running(campaign) or (holder is not None and holder.campaign == campaign)

    def pull_status(self, campaign: str) -> None:
        """Bring the campaign's status here, unless a run on this machine writes it."""
        key = f"{CAMPAIGNS}/{campaign}/{STATUS_FILE}"
        text = None if is_held(self.root) else self.bucket.read(key)
        if text is not None:
            write_bytes(self.root / key, text)

    def pull_records(self) -> None:
        """Make the records here those of the bucket."""
        there = {key: entry for key, entry in self.bucket.list("artifacts").items() if key.endswith(f"/{RECORD_FILE}")}
        safe_names(there)
        for file in self.root.glob(f"artifacts/*/*/{RECORD_FILE}"):
            entry = there.get(file.relative_to(self.root).as_posix())
            if entry is None:
                shutil.rmtree(file.parent)
            elif file.stat().st_mtime == entry.modified.timestamp() and file.stat().st_size == entry.size:
                there.pop(file.relative_to(self.root).as_posix())
        for key in there:
            (self.root / key).parent.mkdir(parents=True, exist_ok=True)
        self.bucket.download({key: self.root / f"{key}.new" for key in there})
        for key, entry in there.items():
            os.utime(self.root / f"{key}.new", (entry.modified.timestamp(), entry.modified.timestamp()))
            (self.root / f"{key}.new").replace(self.root / key)
        self._listing = {}

    def pull_campaigns(self) -> None:
        """Bring the campaigns' files here, unless a run on this machine writes them now: then those here are newer."""
        if is_held(self.root):
            return
        there = self.bucket.list(CAMPAIGNS)
        safe_names(there)
        for key in there:
            (self.root / key).parent.mkdir(parents=True, exist_ok=True)
        self.bucket.download({key: self.root / key for key in there})

    def fetch(self, key: str) -> Path:
        """Directory of a finished artifact, its files brought here. Raises CorruptArtifactError."""
        record = parse_record((self.path(key) / RECORD_FILE).read_text(encoding="utf-8"))
        try:
            fetch_files(self.bucket, key, record.files, self.path(key))
        except DamagedObjectError as damage:
            raise CorruptArtifactError(str(damage)) from damage
        return self.path(key)

    def commit(self, step: Step, staging: Path, result: JobResult, provenance: Mapping[str, Any]) -> Record:
        """Upload what lies in `staging` and write the record, last. A record that is there already stays."""
        files = {**result.files, **put_folder(self.bucket, staging)}
        record = make_record(step, files, result, provenance)
        if not self.bucket.create(record_key(step.key), dump_record(record).encode()):
            record = self._first(step)
        (staging / RECORD_FILE).write_text(dump_record(record), encoding="utf-8")
        final = self.path(step.key)
        final.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(final, ignore_errors=True)
        staging.replace(final)
        self._listing.pop(step.job, None)
        shutil.rmtree(self.checkpoint(step), ignore_errors=True)
        self.bucket.delete(self.bucket.list(f"checkpoints/{step.key}"))
        return record

    def drop_spent_checkpoints(self) -> None:
        """In the bucket too."""
        super().drop_spent_checkpoints()
        keys = [key for key in self.bucket.list("checkpoints") if (self.path(_step_of(key)) / RECORD_FILE).is_file()]
        if keys:
            self.bucket.delete(keys)

    def verify(self, record: Record) -> None:
        """Bring the artifact here and compare every byte. Raises CorruptArtifactError for damage in the bucket."""
        for name, (digest, _) in record.files.items():
            file = self.path(record.key) / name
            if file.is_file() and sha256(file) != digest:
                file.unlink()  # damage in the scratch: the bucket has the bytes
        self.fetch(record.key)

    def verify_sizes(self, record: Record) -> None:
        """Compare the sizes of the record's objects, from one listing. Raises CorruptArtifactError."""
        if self._sizes is None:
            self._sizes = {key: entry.size for key, entry in self.bucket.list("objects").items()}
        found = {name: self._sizes.get(object_key(digest)) for name, (digest, _) in record.files.items()}
        faults = [
            f"{name} is missing" if found[name] is None else f"{name} has {found[name]} bytes, not {size}"
            for name, (_, size) in record.files.items()
            if found[name] != size
        ]
        if faults:
            raise CorruptArtifactError(record.key, ", ".join(faults))

    def reject(self, key: str) -> Path:
        """Take an artifact's record away, keeping it in the bucket for whoever wants to look."""
        text = self.bucket.read(record_key(key))
        if text is not None:
            self.bucket.write(f"rejected/{key}-{time.time_ns()}/{RECORD_FILE}", text)
            self.bucket.delete([record_key(key)])
        return super().reject(key)

    def _first(self, step: Step) -> Record:
        """The record that another run wrote while this one worked on the same step."""
        text = self.bucket.read(record_key(step.key))
        record = parse_record((text or b"").decode())
        if record.fingerprint != step.fingerprint:
            raise CorruptArtifactError(step.key, f"is of fingerprint {record.fingerprint[:12]}")
        return record


def _check_workspace(bucket: Bucket) -> None:
    text = bucket.read("workspace.json")
    if text is None and bucket.create("workspace.json", (json.dumps({"format": WORKSPACE_FORMAT}) + "\n").encode()):
        return
    text = text or bucket.read("workspace.json") or b""
    check_format(text.decode(errors="replace"), f"{bucket.uri}/workspace.json")


def _step_of(key: str) -> str:
    """`checkpoints/<job>/<name>/...` -> `<job>/<name>`."""
    return "/".join(key.split("/")[1:3])
