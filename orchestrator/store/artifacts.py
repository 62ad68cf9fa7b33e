"""ArtifactStore: finished steps as directories, each complete from the moment its record is there.

Layout of a workspace:

    workspace.json                             format of the workspace
    artifacts/<job>/<name>-<fp12>/record.json  with the step's files beside it
    staging/<job>/<name>-<fp12>/               a step being written; deleted and begun anew after a kill
    checkpoints/<job>/<name>-<fp12>/           what a killed training goes on from; deleted on commit
    cache/, rejected/                          derived data; artifacts whose bytes did not match their record
    campaigns/<name>/                          index.json, events.jsonl, status.json, run.lock, report/
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.errors import Fault, InputError
from jobs.files.atomic import sync, write_text
from jobs.spec import BucketRef, JobResult
from orchestrator.store.backend import Backend, DirectoryBackend, refuse_faults
from orchestrator.store.bucket import BucketBackend
from orchestrator.store.layout import BUCKET_FILE, CAMPAIGNS, RECORD_FILE, STATUS_FILE, campaign_folder
from orchestrator.store.lock import is_held
from orchestrator.store.record import CorruptArtifactError, Record, dump_record, read_record
from orchestrator.store.step import Step, payload


def _refuse(damage: CorruptArtifactError) -> None:
    raise damage


class ArtifactStore:
    """Artifacts of finished steps under one workspace directory."""

    def __init__(self, place: Path | Backend) -> None:
        """Open the workspace in a directory or a backend. Raises InputError when another version wrote it."""
        self.backend: Backend = DirectoryBackend(place) if isinstance(place, Path) else place
        self._listing: dict[str, frozenset[str]] = {}

    @property
    def root(self) -> Path:
        """The directory in which this machine sees the workspace."""
        return self.backend.root

    @property
    def cache(self) -> Path:
        """Derived data that any job may read and rebuild."""
        return self.root / "cache"

    @property
    def reference(self) -> BucketRef | None:
        """What calls must know to reach the workspace where it is no directory that all nodes share."""
        return self.backend.reference

    @contextmanager
    def lease(self, campaign: str) -> Iterator[Callable[[], None]]:
        """Keep runs on other machines away from a workspace that file locks do not guard.

        The run calls what it is given now and then; that raises InputError when the workspace was lost to another.
        """
        with self.backend.lease(campaign) as check:
            self._listing = {}
            yield check

    def is_running(self, campaign: str) -> bool:
        """Whether a run of the campaign goes on now."""
        return is_held(campaign_folder(self.root, campaign)) or self.backend.leased_by() == campaign

    def pull_status(self, campaign: str) -> None:
        """Bring what a run on another machine says of itself here, where the workspace's files do not show it."""
        if not is_held(self.root):
            self.backend.pull_file(f"{CAMPAIGNS}/{campaign}/{STATUS_FILE}")

    def pull_campaigns(self) -> None:
        """Bring the campaigns' files here, unless a run on this machine writes them now: then those here are newer."""
        if not is_held(self.root):
            self.backend.pull("campaigns")

    def path(self, key: str) -> Path:
        """Directory of a finished artifact. Where the workspace is a bucket, its record alone may be there."""
        return self.root / "artifacts" / key

    def fetch(self, key: str) -> Path:
        """Directory of a finished artifact, with all its files. Raises CorruptArtifactError."""
        self.backend.fetch(key)
        return self.path(key)

    def checkpoint(self, step: Step) -> Path:
        """Directory that outlives a killed training of this step."""
        return self.root / "checkpoints" / step.key

    def has(self, step: Step) -> bool:
        """Whether a directory of this step is there; from a listing taken once per job."""
        if step.job not in self._listing:
            self._listing[step.job] = frozenset(_names(self.root / "artifacts" / step.job))
        return step.key.split("/", 1)[1] in self._listing[step.job]

    def find(self, step: Step) -> Record | None:
        """The record of a finished step, or None. Raises CorruptArtifactError when it is not this step's."""
        record = read_record(self.path(step.key))
        if record and record.fingerprint != step.fingerprint:
            file = self.path(step.key) / RECORD_FILE
            raise CorruptArtifactError(str(file), f"is of fingerprint {record.fingerprint[:12]}")
        return record

    def again(self, step: Step) -> bool:
        """Whether the step is finished and computed again all the same; see `orchestrator.store.redo`."""
        return False

    def stage(self, step: Step) -> Path:
        """An empty directory to write the step's files into."""
        staging = self.staging(step)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        return staging

    def staging(self, step: Step) -> Path:
        """Where `stage` put the step's directory."""
        return self.root / "staging" / step.key

    def commit(self, step: Step, staging: Path, result: JobResult, provenance: Mapping[str, Any]) -> Record:
        """Make the files last, write the record, and rename the directory into its place.

        Of two runs that finish the same step the first one's record stands.
        """
        files = {**result.files, **self.backend.put_files(staging)}
        record = self.backend.claim(make_record(step, files, result, provenance))
        write_text(staging / RECORD_FILE, dump_record(record))
        final = self.path(step.key)
        final.parent.mkdir(parents=True, exist_ok=True)
        staging.replace(final)
        sync(final.parent)
        self._listing.pop(step.job, None)
        self.backend.drop_checkpoints(step.key)
        return record

    def drop_spent_checkpoints(self) -> None:
        """Delete checkpoints of finished steps: a kill between a commit's last two motions leaves one."""
        self.backend.drop_checkpoints("*/*")

    def discard(self, step: Step) -> None:
        """Delete what a failed step left in staging: on a full disk that room is needed."""
        shutil.rmtree(self.staging(step), ignore_errors=True)

    def verify(self, record: Record) -> None:
        """Raises CorruptArtifactError naming every file that is missing, truncated or changed."""
        self.backend.verify(record)

    def verify_sizes(self, record: Record) -> None:
        """As `verify`, without reading the files: a changed byte is not seen."""
        refuse_faults(record, self.backend.sizes(record))

    def reject(self, key: str) -> Path:
        """Move an artifact out of the way, keeping its bytes for whoever wants to look."""
        self._listing.pop(key.split("/", 1)[0], None)
        return self.backend.reject(key)

    def records(
        self, broken: Callable[[CorruptArtifactError], None] = _refuse, known: Mapping[str, Record] | None = None
    ) -> Iterator[Record]:
        """Every finished step of the workspace, in key order.

        A record that cannot be read goes to `broken`, which raises it unless the caller says otherwise. Those that are
        `known`, by key, are not read again.
        """
        known = known or {}
        for file in sorted((self.root / "artifacts").glob(f"*/*/{RECORD_FILE}")):
            try:
                if record := known.get("/".join(file.parts[-3:-1])) or read_record(file.parent):
                    yield record
            except CorruptArtifactError as damage:
                broken(damage)


def workspace_path(place: str | Path) -> Path:
    """The directory of the workspace at `place`: itself, or the scratch of a bucket's, brought up to date.

    Raises InputError when the bucket cannot be reached, read or written.
    """
    if "://" not in str(place):
        return Path(place).expanduser()  # no shell does that after an =
    store = ArtifactStore(BucketBackend(str(place)))
    store.pull_campaigns()
    return store.root


def open_store(root: Path) -> ArtifactStore:
    """The store of a workspace: a directory, or the scratch of one in a bucket (`workspace_path`)."""
    if (root / BUCKET_FILE).is_file():
        return ArtifactStore(BucketBackend(json.loads((root / BUCKET_FILE).read_text(encoding="utf-8"))["uri"]))
    return ArtifactStore(root)


def is_workspace(root: Path) -> bool:
    """Whether a workspace is there already."""
    return (root / BUCKET_FILE).is_file() or (root / "workspace.json").is_file()


def existing_store(root: Path) -> ArtifactStore:
    """As `open_store`, for commands that only look: they make no workspace. Raises InputError where there is none."""
    if not is_workspace(root):
        raise InputError(Fault("not a workspace", str(root), todo="name one with --workspace"))
    return open_store(root)


def make_record(
    step: Step, files: Mapping[str, tuple[str, int]], result: JobResult, provenance: Mapping[str, Any]
) -> Record:
    """The record of a finished step."""
    return Record(
        key=step.key,
        job=step.job,
        name=step.name,
        fingerprint=step.fingerprint,
        payload=payload(step),
        inputs={role: source.key for role, source in step.inputs},
        files=dict(files),
        metrics=result.metrics,
        series=result.series,
        details=result.details,
        provenance=dict(provenance),
    )


def _names(folder: Path) -> list[str]:
    return [entry.name for entry in os.scandir(folder)] if folder.is_dir() else []


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a workspace has of a plan's steps, asked for once.

    `records`: by key, of steps whose files are there in their sizes. `damaged`: why others must be made again.
    """

    records: dict[str, Record] = field(default_factory=dict)
    damaged: dict[str, CorruptArtifactError] = field(default_factory=dict)


def take_inventory(steps: Iterable[Step], store: ArtifactStore) -> Inventory:
    """Of all steps, in their order; a step that is in neither part is new."""
    found = Inventory()
    for step in steps:
        if not store.has(step):
            continue
        try:
            record = store.find(step)
            if record is not None:
                store.verify_sizes(record)
                found.records[step.key] = record
        except CorruptArtifactError as damage:
            found.damaged[step.key] = damage
    return found
