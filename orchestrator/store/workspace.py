"""A workspace: a directory, or a bucket with a directory as its cache."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.bucket import BucketBackend
from orchestrator.store.layout import BUCKET_FILE


def workspace_path(place: str | Path) -> Path:
    """The directory of the workspace at `place`: itself, or the scratch of a bucket's, brought up to date.

    Raises InputError when the bucket cannot be reached, read or written.
    """
    if "://" not in str(place):
        return Path(place)
    store = ArtifactStore(BucketBackend(str(place)))
    store.pull_campaigns()
    return store.root


def open_store(root: Path) -> ArtifactStore:
    """The store of a workspace: a directory, or the scratch of one in a bucket (`workspace_path`)."""
    if (root / BUCKET_FILE).is_file():
        return ArtifactStore(BucketBackend(json.loads((root / BUCKET_FILE).read_text(encoding="utf-8"))["uri"]))
    return ArtifactStore(root)
