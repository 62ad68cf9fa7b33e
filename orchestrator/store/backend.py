"""What a workspace's store needs of the place where its artifacts lie, and that place as a directory."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal, Protocol

from jobs.files.atomic import sync
from jobs.files.digest import folder_digests, sha256
from jobs.files.objects import Files
from jobs.spec import BucketRef
from orchestrator.store.layout import RECORD_FILE, check_workspace
from orchestrator.store.record import CorruptArtifactError, Record

Keys = dict[str, int]  # what can be deleted -> bytes


class Backend(Protocol):
    """Primitive operations. `root`: the directory in which this machine sees the artifacts and stages new ones."""

    @property
    def root(self) -> Path: ...  # noqa: D102
    @property
    def reference(self) -> BucketRef | None:
        """What calls must know to reach the workspace where it is no directory that all nodes share."""

    def lease(self, campaign: str) -> AbstractContextManager[Callable[[], None]]:
        """Keep runs on other machines away; as `ArtifactStore.lease`."""

    def leased_by(self) -> str | None:
        """The campaign that a run which holds the lease carries out."""

    def pull(self, prefix: Literal["artifacts", "campaigns"]) -> None:
        """Make the records in `root` those of the workspace, or bring the campaigns' files there."""

    def pull_file(self, key: str) -> None:
        """Bring one file into `root`, if the workspace has it."""

    def fetch(self, key: str) -> None:
        """Bring an artifact's files into `root`. Raises CorruptArtifactError."""

    def put_files(self, staging: Path) -> Files:
        """Make a new artifact's files last; what its record is to say of them."""

    def claim(self, record: Record) -> Record:
        """Free the artifact's directory in `root`; the record that it is to have: another run's, which was first."""

    def reject(self, key: str) -> Path:
        """Take an artifact away, keeping it for whoever wants to look: where it lies in `root` now."""

    def sizes(self, record: Record) -> Mapping[str, int | None]:
        """Bytes of an artifact's files, None for one that is missing."""

    def verify(self, record: Record) -> None:
        """Compare every byte of an artifact. Raises CorruptArtifactError."""

    def folders(self, pattern: str) -> dict[str, Keys]:
        """Folders such as `checkpoints/*/*`: path -> what to delete to be rid of it."""

    def drop_checkpoints(self, pattern: str) -> None:
        """Delete those of finished steps. `pattern`: all (`*/*`), or one step's key."""

    def delete(self, keys: Iterable[str]) -> None:
        """Delete what `folders` found, in this order."""


class DirectoryBackend:
    """A workspace in a directory that all nodes share."""

    reference: BucketRef | None = None

    def __init__(self, root: Path) -> None:
        """Open the workspace at `root`. Raises InputError when another version wrote it."""
        self.root = root.resolve()
        check_workspace(self.root)

    @contextmanager
    def lease(self, campaign: str) -> Iterator[Callable[[], None]]:
        """The kernel's locks guard a directory: they cannot be lost."""
        yield lambda: None

    def leased_by(self) -> str | None:
        """Nobody: see `lease`."""
        return None

    def pull(self, prefix: str) -> None:
        """They are here."""

    def pull_file(self, key: str) -> None:
        """It is here."""

    def fetch(self, key: str) -> None:
        """They are here."""

    def put_files(self, staging: Path) -> Files:
        """Brought to disk: after a power cut a record tells the truth."""
        files = folder_digests(staging)
        for name in files:
            sync(staging / name)
        return files

    def claim(self, record: Record) -> Record:
        """What lies there has no record, or a damaged one."""
        if (self.root / "artifacts" / record.key).exists():
            self.reject(record.key)
        return record

    def reject(self, key: str) -> Path:
        """Move it."""
        target = self.root / "rejected" / f"{key}-{time.time_ns()}"
        target.parent.mkdir(parents=True, exist_ok=True)
        (self.root / "artifacts" / key).replace(target)
        return target

    def sizes(self, record: Record) -> dict[str, int | None]:
        """Of the files."""
        files = {name: self.root / "artifacts" / record.key / name for name in record.files}
        return {name: file.stat().st_size if file.is_file() else None for name, file in files.items()}

    def verify(self, record: Record) -> None:
        """Read every file."""
        found, folder = self.sizes(record), self.root / "artifacts" / record.key
        changed = (
            f"{name} has changed" if size == found[name] and sha256(folder / name) != digest else ""
            for name, (digest, size) in record.files.items()
        )
        refuse_faults(record, found, changed)

    def folders(self, pattern: str) -> dict[str, Keys]:
        """Real directories: a link is nobody's to follow, nor to delete through."""
        found = [self.root]
        for part in pattern.split("/"):
            below = [sorted(one.iterdir()) if part == "*" else [one / part] for one in found]
            found = [one for some in below for one in some if one.is_dir() and not one.is_symlink()]
        paths = {one.relative_to(self.root).as_posix(): one for one in found}
        return {path: {path: _size(folder)} for path, folder in paths.items()}

    def drop_checkpoints(self, pattern: str) -> None:
        """One that cannot be deleted harms nobody."""
        for path in self.folders(f"checkpoints/{pattern}"):
            if has_record(self.root, path):
                shutil.rmtree(self.root / path, ignore_errors=True)

    def delete(self, keys: Iterable[str]) -> None:
        """First what makes an artifact complete: a kill half-way leaves nothing that looks finished."""
        for key in keys:
            (self.root / key / RECORD_FILE).unlink(missing_ok=True)
            shutil.rmtree(self.root / key)


def has_record(root: Path, checkpoint: str) -> bool:
    """Whether the step of `checkpoints/<job>/<name>` is finished."""
    return (root / "artifacts" / checkpoint.partition("/")[2] / RECORD_FILE).is_file()


def refuse_faults(record: Record, found: Mapping[str, int | None], others: Iterable[str] = ()) -> None:
    """Raise CorruptArtifactError naming the files of which other sizes were `found`, and `others`, if there are any."""
    faults = [
        f"{name} is missing" if found[name] is None else f"{name} has {found[name]} bytes, not {size}"
        for name, (_, size) in record.files.items()
        if found[name] != size
    ]
    if faults := [*faults, *filter(None, others)]:
        raise CorruptArtifactError(record.key, ", ".join(faults))


def _size(folder: Path) -> int:
    return sum(f.lstat().st_size for f in folder.rglob("*") if f.is_symlink() or f.is_file())
