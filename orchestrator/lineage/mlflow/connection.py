"""Opening an MLflow tracking store: a SQLite file inside the workspace, or a server."""

from __future__ import annotations

import fcntl
import logging
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from sqlalchemy import Engine, event

from jobs.errors import Fault, InputError
from orchestrator.lineage.mlflow.uri import ARTIFACTS, DATABASE, SQLITE, check_uri, default_uri, without_password

OUTAGE = (MlflowException, OSError)  # what a store that cannot be reached raises


def connect(uri: str) -> MlflowClient:
    """A client of the store at `uri`; a SQLite file is created first, whole or not at all."""
    check_uri(uri)
    for noisy in ("mlflow.store.db.utils", "mlflow.tracking", "alembic", "urllib3.connectionpool"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)  # what goes wrong arrives as an exception
    if uri.startswith(SQLITE):
        _create_database(Path(uri.removeprefix(SQLITE)))
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    if uri.startswith(SQLITE):
        _write_without_waiting(client)
    return client


def open_experiment(client: MlflowClient, name: str, workspace: Path, description: str) -> str:
    """The id of the campaign's experiment, created when missing. Raises InputError when it was deleted."""
    found: Experiment | None = client.get_experiment_by_name(name)
    if found is None:
        tags = {"mlflow.experimentKind": "custom_model_development"}  # shows the UI for training, not for chats
        if description:
            tags["mlflow.note.content"] = description
        return str(client.create_experiment(name, _artifact_location(client, name, workspace), tags))
    if client.tracking_uri == default_uri(workspace) and not _inside(found.artifact_location, workspace):
        todo = f"remove {DATABASE}: `adapterfleet lineage --rebuild {name}` makes it anew from the records"
        raise InputError(
            Fault(
                "the workspace was copied or moved, and its MLflow writes files into", found.artifact_location, "", todo
            )
        )
    if found.lifecycle_stage != "active":
        raise InputError(
            Fault(
                f"the experiment {name!r} was deleted in MLflow",
                without_password(client.tracking_uri),
                todo="restore it (`mlflow experiments restore`) or remove it for good (`mlflow gc`)",
            )
        )
    return str(found.experiment_id)


def reachable(client: MlflowClient) -> bool:
    """Whether the store answers at all."""
    try:
        client.search_experiments(max_results=1)
    except OUTAGE:
        return False
    return True


def _artifact_location(client: MlflowClient, name: str, workspace: Path) -> str | None:
    if not client.tracking_uri.startswith(SQLITE):
        return None  # a server says where its artifacts lie
    folder = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
    return (workspace.resolve() / ARTIFACTS / folder).as_uri()


def _inside(location: str, workspace: Path) -> bool:
    """Whether artifacts at `location` lie in the workspace; of those that are no local files a server decides."""
    parts = urlsplit(location)
    return parts.scheme not in ("", "file") or Path(unquote(parts.path)).is_relative_to(workspace.resolve())


def _create_database(file: Path) -> None:
    """Write the schema into a file of its own and rename it: a kill in the middle leaves no half a schema."""
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with (file.parent / f".{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():  # another campaign of this workspace may have been faster
            for rest in file.parent.glob(f".{file.name}.*.new*"):
                rest.unlink()
            _write_schema(file.with_name(f".{file.name}.{time.time_ns()}.new")).replace(file)


def _write_schema(file: Path) -> Path:
    client = MlflowClient(tracking_uri=f"{SQLITE}{file}", registry_uri=f"{SQLITE}{file}")
    for engine in _engines(client):
        engine.dispose()
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA journal_mode=WAL")  # readers such as the UI do not block the writer
    return file


def _write_without_waiting(client: MlflowClient) -> None:
    """Let SQLite sync the disk at its checkpoints instead of after each of a campaign's thousands of writes.

    With a write-ahead log a killed process loses nothing and a power cut at most the last writes, never the
    file; the records have them all.
    """
    for engine in _engines(client):
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=NORMAL"))
        engine.dispose()


def _engines(client: MlflowClient) -> list[Engine]:
    return [client._tracking_client.store.engine, client._get_registry_client().store.engine]
