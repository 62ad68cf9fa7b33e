"""A workspace: a directory, or a bucket with a directory as its cache."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.bucket import BucketStore
from orchestrator.store.layout import BUCKET_FILE


def open_workspace(uri: str) -> Path:
    """The scratch directory of the workspace at `uri`, with its records and campaigns' files brought up to date.

    Raises InputError when the bucket cannot be reached, read or written.
    """
    store = BucketStore(uri)
    store.pull_campaigns()
    return store.root


def workspace_path(place: str | Path) -> Path:
    """The directory of the workspace at `place`: itself, or the scratch of a bucket's, brought up to date.

    Raises InputError when the bucket cannot be used.
    """
    if "://" not in str(place):
        return Path(place)

    return open_workspace(str(place))


def open_store(root: Path) -> ArtifactStore:
    """The store of a workspace: a directory, or the scratch of one in a bucket (`bucket_store.open_workspace`)."""
    if (root / BUCKET_FILE).is_file():
        from orchestrator.store.bucket import BucketStore

        return BucketStore(json.loads((root / BUCKET_FILE).read_text(encoding="utf-8"))["uri"])
    return ArtifactStore(root)
