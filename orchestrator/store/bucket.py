"""The same workspace in a bucket. `root` is this node's scratch; the bucket alone is the truth.

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
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.errors import Fault, InputError
from jobs.files.atomic import write_bytes
from jobs.files.bucket import Bucket, BucketError, Entry, safe_names
from jobs.files.call_directories import scratch_of
from jobs.files.digest import sha256
from jobs.files.objects import DamagedObjectError, Files, fetch_files, object_key, put_folder, record_key
from jobs.files.sync import BucketSync
from jobs.spec import BucketRef
from orchestrator.store.backend import DirectoryBackend, Keys, has_record
from orchestrator.store.layout import BUCKET_FILE, CAMPAIGNS, RECORD_FILE, WORKSPACE_FORMAT, check_format
from orchestrator.store.lease import Lease
from orchestrator.store.record import CorruptArtifactError, Record, dump_record, parse_record, read_record


class BucketBackend:
    """A workspace in a bucket; what is read of it lies in the scratch directory too."""

    def __init__(self, uri: str) -> None:
        """Open the workspace and bring its records here. Raises InputError when that cannot be done."""
        self.bucket = Bucket(uri)
        try:
            _check_workspace(self.bucket)
            self._scratch = DirectoryBackend(scratch_of(self.bucket.uri))
            self.root = self._scratch.root
            (self.root / BUCKET_FILE).write_text(json.dumps({"uri": self.bucket.uri}) + "\n", encoding="utf-8")
            self.pull("artifacts")
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
        with Lease(self.bucket, campaign) as lease:
            self.pull("artifacts")  # what the last holder finished
            replica = BucketSync(self.bucket)
            replica.watch(f"{CAMPAIGNS}/{campaign}", self.root / CAMPAIGNS / campaign)
            try:
                yield lease.check
            finally:
                replica.close()

    def leased_by(self) -> str | None:
        """On any machine."""
        holder = Lease(self.bucket, "").holder()
        return holder.campaign if holder else None

    def pull_file(self, key: str) -> None:
        """Whole or not at all."""
        content = self.bucket.read(key)
        if content is not None:
            write_bytes(self.root / key, content)

    def pull(self, prefix: str) -> None:
        """Those that changed, by their time and size. A record that the bucket has no more goes here too."""
        there = self.bucket.list(prefix)
        if prefix == "artifacts":
            there = {key: entry for key, entry in there.items() if key.endswith(f"/{RECORD_FILE}")}
            for file in self.root.glob(f"artifacts/*/*/{RECORD_FILE}"):
                if file.relative_to(self.root).as_posix() not in there:
                    shutil.rmtree(file.parent)
        safe_names(there)
        files = {key: self.root / f"{key}.new" for key, entry in there.items() if _differs(self.root / key, entry)}
        for file in files.values():
            file.parent.mkdir(parents=True, exist_ok=True)
        self.bucket.download(files)
        for key, file in files.items():
            os.utime(file, (there[key].modified.timestamp(), there[key].modified.timestamp()))
            file.replace(self.root / key)

    def fetch(self, key: str) -> None:
        """Those that are missing, each checked."""
        folder = self.root / "artifacts" / key
        record = read_record(folder)
        if record is None:
            raise CorruptArtifactError(key, "has no record")
        try:
            fetch_files(self.bucket, key, record.files, folder)
        except DamagedObjectError as damage:
            raise CorruptArtifactError(str(damage)) from damage

    def put_files(self, staging: Path) -> Files:
        """Uploaded as objects."""
        return put_folder(self.bucket, staging)

    def claim(self, record: Record) -> Record:
        """Write the record where none is."""
        if not self.bucket.create(record_key(record.key), dump_record(record).encode()):
            record = self._first(record)
        shutil.rmtree(self.root / "artifacts" / record.key, ignore_errors=True)
        return record

    def reject(self, key: str) -> Path:
        """The record goes to `rejected/`, its objects stay."""
        text = self.bucket.read(record_key(key))
        if text is not None:
            self.bucket.write(f"rejected/{key}-{time.time_ns()}/{RECORD_FILE}", text)
            self.bucket.delete([record_key(key)])
        return self._scratch.reject(key)

    def sizes(self, record: Record) -> dict[str, int | None]:
        """Of the objects, from one listing."""
        if self._sizes is None:
            self._sizes = {key: entry.size for key, entry in self.bucket.list("objects").items()}
        return {name: self._sizes.get(object_key(digest)) for name, (digest, _) in record.files.items()}

    def verify(self, record: Record) -> None:
        """Bring the artifact here: what is damaged in the scratch alone, the bucket has."""
        for name, (digest, _) in record.files.items():
            file = self.root / "artifacts" / record.key / name
            if file.is_file() and sha256(file) != digest:
                file.unlink()
        self.fetch(record.key)

    def folders(self, pattern: str) -> dict[str, Keys]:
        """Keys by their beginnings."""
        prefix, depth = pattern.partition("/*")[0], pattern.count("/") + 1
        found: dict[str, Keys] = defaultdict(dict)
        for key, entry in self.bucket.list(prefix).items():
            found["/".join(key.split("/")[:depth])][key] = entry.size
        return found

    def drop_checkpoints(self, pattern: str) -> None:
        """Here too."""
        there = self.folders(f"checkpoints/{pattern}")
        self.delete(key for path, keys in there.items() if has_record(self.root, path) for key in keys)
        self._scratch.drop_checkpoints(pattern)

    def delete(self, keys: Iterable[str]) -> None:
        """Objects, one after another."""
        self.bucket.delete(keys)

    def _first(self, record: Record) -> Record:
        """The record that another run wrote while this one worked on the same step."""
        first = parse_record((self.bucket.read(record_key(record.key)) or b"").decode())
        if first.fingerprint != record.fingerprint:
            raise CorruptArtifactError(record.key, f"is of fingerprint {first.fingerprint[:12]}")
        return first


def _differs(file: Path, entry: Entry) -> bool:
    facts = file.stat() if file.is_file() else None
    return facts is None or (facts.st_mtime, facts.st_size) != (entry.modified.timestamp(), entry.size)


def _check_workspace(bucket: Bucket) -> None:
    text = bucket.read("workspace.json")
    if text is None and bucket.create("workspace.json", (json.dumps({"format": WORKSPACE_FORMAT}) + "\n").encode()):
        return
    text = text or bucket.read("workspace.json") or b""
    check_format(text.decode(errors="replace"), f"{bucket.uri}/workspace.json")
