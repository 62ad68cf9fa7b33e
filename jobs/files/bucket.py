"""A bucket: object storage behind fsspec (s3://, gs://, memory://), with the few operations that a store needs.

Nothing here renames: an object is there whole or not at all, and `create` writes it only where none is.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec

from jobs.errors import Fault, InputError

PROTOCOLS = {"s3": "s3", "gs": "gcs", "memory": ""}  # protocol -> extra of this package that brings its client
# A bucket that does not answer costs seconds, not minutes.
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "s3": {"config_kwargs": {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 2}}},
    "gs": {},
    "memory": {},
}
ADDRESSED_BY = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_ACCESS_KEY_ID")
SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN")


class BucketError(OSError):
    """The bucket refused or did not answer; told in one line that holds no secret."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An object as a listing shows it. `modified` is the server's clock."""

    size: int
    modified: datetime


class Bucket:
    """The objects under one address such as `s3://bucket/prefix`. Keys are relative to it."""

    def __init__(self, uri: str) -> None:
        """Connects with the first operation. Raises InputError for an address that cannot be one of a bucket."""
        self.uri = checked(uri)
        self.protocol, _, path = self.uri.partition("://")
        self._base = path.strip("/")
        try:
            account = tuple(os.environ.get(name, "") for name in ADDRESSED_BY)
            self._fs = _filesystem(self.protocol, account, os.getpid())  # a client does not survive a fork
        except ImportError as missing:
            todo = f"install it: pip install 'adapterfleet[{PROTOCOLS[self.protocol]}]'"
            raise InputError(Fault("the bucket's client is not installed", self.uri, str(missing), todo)) from missing

    def read(self, key: str) -> bytes | None:
        """The object's bytes, or None where there is none."""
        with self._telling():
            try:
                content: bytes = self._fs.cat_file(self._at(key))
            except FileNotFoundError:
                return None
            return content

    def write(self, key: str, content: bytes) -> None:
        """Write an object, over what is there."""
        with self._writing():
            self._fs.pipe_file(self._at(key), content)

    def create(self, key: str, content: bytes) -> bool:
        """Write an object where none is (`If-None-Match: *`); whether it was written. Of two only one writes."""
        with self._writing():
            try:
                self._fs.pipe_file(self._at(key), content, mode="create")
            except FileExistsError:
                return False
            except OSError as refused:
                if _precondition_failed(refused):
                    return False
                raise
            return True

    def upload(self, files: Mapping[str, Path]) -> None:
        """Write local files as objects, several at once. `files`: key -> file."""
        if files:
            with self._writing():
                self._fs.put([str(file) for file in files.values()], [self._at(key) for key in files])

    def download(self, files: Mapping[str, Path]) -> None:
        """Write objects as local files, several at once; their directories exist. Raises FileNotFoundError."""
        if files:
            with self._telling():
                self._fs.get([self._at(key) for key in files], [str(file) for file in files.values()])

    def list(self, prefix: str) -> dict[str, Entry]:
        """Key -> entry of every object below `prefix`."""
        with self._telling():
            try:
                self._fs.invalidate_cache()
                found = self._fs.find(self._at(prefix), detail=True, refresh=True)
            except FileNotFoundError:
                return {}
        start = len(self._base) + 1
        return {
            path.lstrip("/")[start:]: Entry(int(info["size"]), _modified(info)) for path, info in sorted(found.items())
        }

    def entry(self, key: str) -> Entry | None:
        """One object's entry, asked for now, or None."""
        with self._telling():
            try:
                self._fs.invalidate_cache()
                info = self._fs.info(self._at(key))
            except FileNotFoundError:
                return None
        return Entry(int(info["size"]), _modified(info))

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; one that is not there is no fault."""
        for key in keys:
            with self._telling():
                try:
                    self._fs.rm_file(self._at(key))
                except FileNotFoundError:
                    continue

    def _at(self, key: str) -> str:
        return f"{self._base}/{key}" if self.protocol != "memory" else f"/{self._base}/{key}"

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """As `_telling`; and a bucket that is not there cannot be written to."""
        try:
            with self._telling():
                yield
        except FileNotFoundError as gone:
            raise BucketError(f"{self.uri}: {error_text(gone)}") from None

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Whatever the bucket's client raises becomes one line without secrets."""
        try:
            yield
        except (FileNotFoundError, FileExistsError, BucketError):
            raise
        except failures() as fault:
            raise BucketError(f"{self.uri}: {error_text(fault)}") from None


def checked(uri: str) -> str:
    """The address without a slash at its end. Raises InputError where it cannot be one of a bucket."""
    parts = urlsplit(uri)
    if "@" in parts.netloc:
        shown = f"{parts.scheme}://***@{parts.netloc.rsplit('@', 1)[1]}{parts.path}"
        todo = "give credentials by the environment or the machine's role, never in an address"
        raise InputError(Fault("the address holds credentials", "--workspace", shown, todo))
    if parts.scheme not in PROTOCOLS or not parts.netloc or ".." in parts.path.split("/"):
        todo = "a directory, or " + ", ".join(f"{name}://bucket/prefix" for name in PROTOCOLS)
        raise InputError(Fault("not the address of a workspace", "--workspace", uri, todo))
    return uri.rstrip("/")


def error_text(fault: BaseException) -> str:
    """An error in one line, in which no credential of this process's environment stands."""
    lines = str(fault).splitlines() or [""]
    line = f"{type(fault).__name__}: {lines[0]}"
    for name in SECRETS:
        if os.environ.get(name):
            line = line.replace(os.environ[name], "***")
    return line


@lru_cache(maxsize=1)
def failures() -> tuple[type[BaseException], ...]:
    """What the clients of buckets raise when one cannot be used, of those that are installed."""
    found: list[type[BaseException]] = [OSError, TimeoutError]
    named = (("botocore.exceptions", "BotoCoreError"), ("botocore.exceptions", "ClientError"))
    others = (("google.auth.exceptions", "GoogleAuthError"), ("aiohttp", "ClientError"))
    for module, name in (*named, *others):
        try:
            found.append(getattr(importlib.import_module(module), name))
        except ImportError:
            continue
    return tuple(found)


def safe_names(names: Iterable[str]) -> Sequence[str]:
    """The names themselves. Raises ValueError for one that leads out of its directory."""
    checked_names = list(names)
    for name in checked_names:
        parts = name.split("/")
        if not name or name.startswith("/") or "\\" in name or "\0" in name or set(parts) & {"", ".", ".."}:
            raise ValueError(f"a file name that leaves its directory: {name!r}")
    return checked_names


@lru_cache(maxsize=4)
def _filesystem(protocol: str, account: tuple[str, ...], process: int) -> Any:
    """One client per process and account: making one costs more than a hundred requests."""
    return fsspec.filesystem(protocol, skip_instance_cache=True, use_listings_cache=False, **OPTIONS[protocol])


def _precondition_failed(refused: OSError) -> bool:
    words = str(refused)
    return "PreconditionFailed" in words or "pre-condition" in words.lower() or "ConditionalRequestConflict" in words


def _modified(info: Mapping[str, Any]) -> datetime:
    moment = info.get("LastModified") or info.get("updated") or info.get("modified") or info.get("created")
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    if not isinstance(moment, datetime):
        return datetime.fromtimestamp(0, UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
