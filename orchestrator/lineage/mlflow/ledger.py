"""mirror.json: what of a campaign a tracking store already has, so that a run sends the others and nothing twice.

The tracking store stays the judge: a record that is there and not in the ledger is found by its tags. The
ledger only saves asking. A lock on `mirror.lock` keeps a second process from sending at the same time; the
operating system frees it when its holder dies.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jobs.errors import Fault, InputError
from jobs.files.atomic import write_text
from jobs.files.digest import folder_digests
from orchestrator.execution.event_log import Failure, failures
from orchestrator.lineage.mlflow.uri import without_password
from orchestrator.store.layout import RECORD_FILE, campaign_folder
from orchestrator.store.record import CorruptArtifactError, Record, read_record, record_digest

LEDGER_FILE = "mirror.json"
LOCK_FILE = "mirror.lock"


class Ledger:
    """What the tracking store at one address has of one campaign: key -> digest of what was sent."""

    def __init__(self, folder: Path, uri: str) -> None:
        """Lock and read the ledger in the campaign's directory. Raises InputError when another process sends."""
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / LEDGER_FILE
        self._uri = uri
        self._lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            os.close(self._lock)
            raise InputError(
                Fault("another process is sending to MLflow", str(folder), todo="wait until it is done")
            ) from fault
        self.experiment, self._sent = read_ledger(folder, uri)

    def choose(self, experiment: str) -> None:
        """Say which experiment is written to; what was sent to another one counts for nothing."""
        if experiment != self.experiment:
            self.experiment, self._sent = experiment, {}

    def forget(self) -> None:
        """Trust nothing: every record is looked up in the tracking store again."""
        self._sent = {}

    def has(self, key: str, digest: str) -> bool:
        """Whether this very record was sent."""
        return self._sent.get(key) == digest

    def mark(self, key: str, digest: str) -> None:
        """Remember a record that the store now has; `save` makes it last."""
        self._sent[key] = digest

    def save(self) -> None:
        """Write the ledger, whole or not at all."""
        content = {"format": 1, "uri": without_password(self._uri), "experiment": self.experiment, "sent": self._sent}
        write_text(self._file, json.dumps(content, indent=1, sort_keys=True) + "\n")

    def close(self) -> None:
        """Save and unlock."""
        self.save()
        os.close(self._lock)


def read_ledger(folder: Path, uri: str) -> tuple[str, dict[str, str]]:
    """The experiment, and key -> digest, that the store at `uri` was sent; empty when that is not known."""
    try:
        content = json.loads((folder / LEDGER_FILE).read_text(encoding="utf-8"))
        if content["format"] == 1 and content["uri"] == without_password(uri):
            return str(content["experiment"]), dict(content["sent"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass  # no ledger, or none that can be read: the tracking store is asked for each record
    return "", {}


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
