"""One campaign's experiment in a tracking store: experiment = campaign, run = step, child run = trial.

Nothing is ever read back. What is written follows from the records alone, so that writing again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.execution.event_log import Failure
from orchestrator.lineage.mlflow.connection import connect, open_experiment, reachable
from orchestrator.lineage.mlflow.ledger import Item, Ledger, folder_digest, report_key, waiting
from orchestrator.lineage.mlflow.registry import Registry
from orchestrator.lineage.mlflow.run_writer import RunWriter
from orchestrator.lineage.mlflow.views import view
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.layout import campaign_folder
from orchestrator.store.record import Record, read_record, record_digest

SAVE_EVERY = 25  # records between two saves of the ledger


class Mirror:
    """Writes records, failures and the report of one campaign."""

    def __init__(self, uri: str, store: ArtifactStore, index: dict[str, Any]) -> None:
        """Connect, create what is missing, and lock the campaign's ledger; `index` is the campaign index.

        Raises MlflowException or OSError when the tracking store cannot be reached, InputError when its address
        cannot be used or another process is sending.
        """
        self.index, self.store, campaign = index, store, index["campaign"]
        self.ledger = Ledger(campaign_folder(store.root, campaign), uri)
        try:
            self.client = connect(uri)
            experiment = open_experiment(self.client, campaign, store.root, index.get("description", ""))
        except BaseException:
            self.ledger.close()
            raise
        self.ledger.choose(experiment)
        self.runs = RunWriter(self.client, experiment)
        self.registry = Registry(self.client, campaign)
        self._roles = roles(index)
        self._there: set[str] = set()
        self._unsaved = 0

    def put(self, record: Record) -> bool:
        """Write a record, and first the inputs that MLflow does not have. Whether there was anything to do.

        Raises LookupError when the record or one of its inputs is not in the workspace.
        """
        if record.key in self._there and self.ledger.has(record.key, self._digest(record.key)):
            return False
        digest = self._digest(record.key)
        for key in sorted(set(record.inputs.values()) - self._there):
            self._put_input(record.key, key)
        sent = not self.ledger.has(record.key, digest)
        if sent:
            self.runs.write(view(record, digest, self._roles.get(record.key, {})), self.store.fetch(record.key))
            self._register(record)
            self._mark(record.key, digest)
        self._there.add(record.key)
        return sent

    def failed(self, failure: Failure) -> bool:
        """Write a failed step, unless it has succeeded since. Whether there was anything to do."""
        if self.ledger.has(failure.key, failure.digest):
            return False
        self.runs.write_failure(failure.key, failure.error, failure.when)
        self._mark(failure.key, failure.digest)
        return True

    def report(self, folder: Path) -> bool:
        """Keep the files of `folder`, when it has any, in a run of their own. Whether there was anything to do."""
        key, digest = report_key(self.index), folder_digest(folder)
        if digest is None or self.ledger.has(key, digest):
            return False
        self.runs.upload_folder(key, digest, folder)
        self._mark(key, digest)
        return True

    def waiting(self) -> Iterator[Item]:
        """Everything of the campaign on disk that the ledger does not know, inputs first."""
        return waiting(self.store.root, self.index, self.ledger.has)

    def deliver(self, item: Item) -> bool:
        """Write a record, a failure, or the report's folder. Whether there was anything to do."""
        if isinstance(item, Record):
            return self.put(item)
        return self.failed(item) if isinstance(item, Failure) else self.report(item)

    def alive(self) -> bool:
        """Whether the tracking store answers."""
        return reachable(self.client)

    def close(self) -> None:
        """Save the ledger and let others send."""
        self.ledger.close()

    def _digest(self, key: str) -> str:
        digest = record_digest(self.store.path(key))
        if digest is None:
            raise LookupError(f"{key} is not in the workspace")
        return digest

    def _put_input(self, key: str, source: str) -> None:
        record = read_record(self.store.path(source))
        if record is None:
            raise LookupError(f"{key}: its input {source} is not in the workspace")
        self.put(record)

    def _register(self, record: Record) -> None:
        for comparison in self.index["comparisons"]:
            if record.key in comparison["merges"].values():
                search = read_record(self.store.path(comparison["search"]))
                model = self.runs.model_id(record.key)
                if search and model:
                    self.registry.register(comparison, record, search, model)

    def _mark(self, key: str, digest: str) -> None:
        self.ledger.mark(key, digest)
        self._unsaved += 1
        if self._unsaved >= SAVE_EVERY:
            self.ledger.save()
            self._unsaved = 0


def roles(index: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Key of a step -> tags that say which comparisons it is for and, of an evaluation, which systems it scores."""
    found: dict[str, dict[str, set[str]]] = {}
    for comparison in index["comparisons"]:
        name = f"{comparison['name']} {comparison['target']}"
        for key in (comparison["search"], *comparison["merges"].values()):
            found.setdefault(key, {}).setdefault("comparison", set()).add(name)
        for system in comparison["systems"]:
            for key in system["evaluations"].values():
                tags = found.setdefault(key, {})
                tags.setdefault("comparison", set()).add(name)
                tags.setdefault("system", set()).add(system["name"])
    return {key: {tag: ", ".join(sorted(names)) for tag, names in tags.items()} for key, tags in found.items()}
