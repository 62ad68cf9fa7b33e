"""What lineage reads from a workspace: the campaign index, records, failures, and what waits to be sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from jobs.errors import Fault, InputError
from orchestrator.store.artifacts import CorruptArtifactError, read_record, record_digest
from orchestrator.store.layout import CAMPAIGNS, RECORD_FILE, campaign_folder
from orchestrator.store.record import Record

ARTIFACTS = "artifacts"

REPORT = "report"


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that failed: `when` in seconds since 1970."""

    key: str
    error: str
    when: float

    @property
    def digest(self) -> str:
        """What the ledger knows the failure by."""
        return f"failed {hashlib.sha256(self.error.encode()).hexdigest()}"


Item = Record | Failure | Path  # a finished step, a failed one, or the folder of the report


def read_index(workspace: Path, campaign: str) -> dict[str, Any]:
    """The campaign index. Raises InputError when the workspace has no such campaign."""
    file = campaign_folder(workspace, campaign) / "index.json"
    if not file.is_file():
        known = sorted(f.parent.name for f in (workspace / CAMPAIGNS).glob("*/index.json"))
        close = get_close_matches(campaign, known, n=3) or known[:5]
        todo = f"did you mean {', '.join(close)}?" if close else "run a campaign first"
        raise InputError(Fault("no such campaign in this workspace", str(workspace), campaign, todo))
    index: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return index


def folder_digest(folder: Path) -> str | None:
    """Sha256 over names and contents of all files below `folder`, None when there are none."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    total = hashlib.sha256()
    for file in files:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"{file.relative_to(folder).as_posix()}\0{content}\n".encode())
    return total.hexdigest() if files else None


def failures(workspace: Path, campaign: str) -> dict[str, Failure]:
    """Steps whose last word in events.jsonl is that they failed."""
    last: dict[str, Failure | None] = {}
    for event in _events(campaign_folder(workspace, campaign) / "events.jsonl"):
        key, kind = event.get("key"), event.get("event")
        if key and kind == "failed":
            last[key] = Failure(key, str(event.get("error") or "no message"), float(event.get("time", 0)))
        elif key and kind in {"succeeded", "reused"}:
            last[key] = None
    return {key: failure for key, failure in last.items() if failure}


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


def _events(file: Path) -> Iterator[dict[str, Any]]:
    if not file.is_file():
        return
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # the last line of a killed driver may be cut
        if isinstance(event, dict):
            yield event
