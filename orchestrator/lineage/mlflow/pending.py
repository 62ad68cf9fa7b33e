"""What lineage reads from a workspace: the campaign index, records, failures, and what waits to be sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jobs.files.digest import folder_digests
from orchestrator.execution.event_log import Failure, failures
from orchestrator.store.layout import RECORD_FILE, campaign_folder
from orchestrator.store.record import CorruptArtifactError, Record, read_record, record_digest

ARTIFACTS = "artifacts"
REPORT = "report"

Item = Record | Failure | Path  # a finished step, a failed one, or the folder of the report


def folder_digest(folder: Path) -> str | None:
    """Sha256 over names and contents of all files below `folder`, None when there are none."""
    lines = "".join(f"{name}\0{digest}\n" for name, (digest, _) in folder_digests(folder).items())
    return hashlib.sha256(lines.encode()).hexdigest() if lines else None


def waiting(workspace: Path, index: Mapping[str, Any], sent: Callable[[str, str], bool]) -> Iterator[Item]:
    """Everything of a campaign on disk for which `sent(key, digest)` is false: inputs first, the report last."""
    failed = failures(workspace, index["campaign"])
    for key in index["steps"]:
        folder = workspace / ARTIFACTS / key
        digest = record_digest(folder)
        if digest is None:
            if key in failed and not sent(key, failed[key].digest):
                yield failed[key]
        elif not sent(key, digest):
            yield from _readable(key, folder)
    report = campaign_folder(workspace, index["campaign"]) / REPORT
    content = folder_digest(report)
    if content and not sent(report_key(index), content):
        yield report


def _readable(key: str, folder: Path) -> Iterator[Record | Failure]:
    try:
        record = read_record(folder)
    except CorruptArtifactError as fault:  # the next run does the step again; until then it counts as failed
        yield Failure(key, str(fault), (folder / RECORD_FILE).stat().st_mtime)
    else:
        if record:
            yield record


def report_key(index: Mapping[str, Any]) -> str:
    """The key of the run that holds the report's files."""
    return f"{REPORT}/{index['campaign']}"
