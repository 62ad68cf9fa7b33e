"""Names of data and backbones in a lineage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def data_name(ref: Mapping[str, Any]) -> str:
    """A readable name of a `DataRef` in plain JSON, e.g. `cldr/gl` or `wikimedia/wikipedia/20231101.gl/gl`."""
    return "/".join(filter(None, (ref.get("dataset") or ref["source"], ref.get("subset"), ref["language"])))


def backbone_key(ref: Mapping[str, Any]) -> str:
    """The key of a backbone, which is no artifact: its name and pinned revision."""
    return f"backbone/{ref['name']}@{ref['revision']}"
