"""Where things lie in a workspace, and its format."""

from __future__ import annotations

import json
from pathlib import Path

from jobs.errors import Fault, InputError
from jobs.files.atomic import write_text

CAMPAIGNS = "campaigns"

WORKSPACE_FORMAT = 1
RECORD_FILE = "record.json"
STATUS_FILE = "status.json"
BUCKET_FILE = "bucket.json"  # in a scratch directory: which bucket it belongs to


def campaign_folder(workspace: Path, campaign: str) -> Path:
    """`<workspace>/campaigns/<campaign>`: index, events, report. Raises InputError for a name that leaves it."""
    if campaign in ("", ".", "..") or any(mark in campaign for mark in ("/", "\\", "\0")):
        raise InputError(Fault("not the name of a campaign", "campaign", repr(campaign)))
    return workspace / "campaigns" / campaign


def check_workspace(root: Path) -> None:
    """Create the workspace, or refuse one that another version wrote."""
    marker = root / "workspace.json"
    if not marker.exists():
        write_text(marker, json.dumps({"format": WORKSPACE_FORMAT}) + "\n")
        return
    check_format(marker.read_text(encoding="utf-8"), str(marker))


def check_format(text: str, where: str) -> None:
    """Raises InputError unless `text`, of `workspace.json` at `where`, names this version's format."""
    try:
        found = json.loads(text)["format"]
    except (ValueError, KeyError, TypeError) as fault:
        raise InputError(
            Fault("not a workspace", where, str(fault), "name another directory with --workspace")
        ) from fault
    if found != WORKSPACE_FORMAT:
        raise InputError(
            Fault(
                "the workspace was written by another version of adapterfleet",
                where,
                f"format {found}, this version reads {WORKSPACE_FORMAT}",
                "use that version, or name another directory with --workspace",
            )
        )
