"""Files in a bucket under the sha256 of their bytes, so that an upload torn, repeated or late harms nobody.

    objects/<first two digits>/<sha256>     the bytes of any artifact's file
    artifacts/<key>/record.json             names them; written last

Until the record is there, nothing refers to an object. Two workers that computed the same step write different
objects or the same bytes; the record names those of one.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from jobs.files.atomic import replacing, write_bytes
from jobs.files.bucket import Bucket, safe_names
from jobs.files.digest import folder_digests, sha256

RECORD_FILE = "record.json"
Files = dict[str, tuple[str, int]]  # path inside an artifact -> (sha256, bytes)


class DamagedObjectError(Exception):
    """A file of an artifact is missing in the bucket, or its bytes are not those that the record names."""


def object_key(digest: str) -> str:
    """Where the bytes of that sha256 lie."""
    return f"objects/{digest[:2]}/{digest}"


def record_key(key: str) -> str:
    """Where the record of an artifact lies."""
    return f"artifacts/{key}/{RECORD_FILE}"


def put_folder(bucket: Bucket, folder: Path) -> Files:
    """Upload every file of `folder`; what the record is to say of them."""
    found = folder_digests(folder)
    bucket.upload({object_key(digest): folder / name for name, (digest, _) in found.items()})
    return found


def fetch_artifact(bucket: Bucket, key: str, folder: Path) -> None:
    """Make `folder` hold the artifact `key`, record and all; nothing happens where it does already.

    Raises DamagedObjectError when it is not in the bucket, or not as its record says.
    """
    text = bucket.read(record_key(key))
    if text is None:
        raise DamagedObjectError(f"{key}: no record in {bucket.uri}")
    try:
        files: Files = {name: (digest, size) for name, (digest, size) in json.loads(text)["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise DamagedObjectError(f"{key}: {fault}") from fault
    fetch_files(bucket, key, files, folder)
    write_bytes(folder / RECORD_FILE, text)


def fetch_files(bucket: Bucket, key: str, files: Mapping[str, tuple[str, int]], folder: Path) -> None:
    """Bring the missing ones of an artifact's `files` into `folder`, each checked and then renamed into place.

    Raises DamagedObjectError.
    """
    try:
        safe_names(files)
    except ValueError as fault:
        raise DamagedObjectError(f"{key}: {fault}") from fault
    missing = {name: digest for name, (digest, size) in files.items() if not _is_there(folder / name, size)}
    beside = folder / f".fetching-{os.getpid()}-{uuid.uuid4().hex}"
    beside.mkdir(parents=True)
    try:
        parts = {digest: beside / digest for digest in missing.values()}
        try:
            bucket.download({object_key(digest): part for digest, part in parts.items()})
        except FileNotFoundError as fault:
            raise DamagedObjectError(f"{key}: an object is missing in {bucket.uri}: {fault}") from fault
        wrong = [name for name, digest in missing.items() if sha256(parts[digest]) != digest]
        if wrong:
            raise DamagedObjectError(f"{key}: changed in {bucket.uri}: {', '.join(wrong)}")
        for name, digest in missing.items():
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            with replacing(place) as copy:  # a copy: two names may have the same bytes
                shutil.copyfile(parts[digest], copy)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _is_there(file: Path, size: int) -> bool:
    return file.is_file() and file.stat().st_size == size
