"""Addresses of tracking stores, and the settings under which MLflow is used. Imports no MLflow.

`orchestrator.lineage.mlflow.writer` imports this before anything imports `mlflow`: telemetry and pickle loading are
switched off, and an unreachable server costs seconds. A value that the user set in the environment stays.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from jobs.errors import Fault, InputError

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",  # a server may say "in a day"
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # of the UI: no process for jobs that nobody starts
}
for _name, _value in _SETTINGS.items():
    os.environ.setdefault(_name, _value)

SQLITE = "sqlite:///"
DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"


def default_uri(workspace: Path) -> str:
    """The tracking store of a workspace that names none: an absolute `sqlite:////...` address.

    Raises InputError for a path that such an address cannot say: %20 in it is a space, and options follow a ?.
    """
    place = str(workspace.resolve())
    if set(place) & {"?", "%"}:
        todo = "name another directory with --workspace, a server with --tracking, or --tracking off"
        raise InputError(Fault("MLflow's database cannot lie in a path with ? or %", place, todo=todo))
    return f"{SQLITE}{workspace.resolve() / DATABASE}"


def check_uri(uri: str) -> str:
    """`uri` itself. Raises InputError for anything but an absolute SQLite path or an http(s) server."""
    scheme = urlsplit(uri).scheme
    if scheme in {"http", "https"} or uri.startswith(f"{SQLITE}/"):
        return uri
    raise InputError(
        Fault(
            "not a tracking address that can be used",
            "tracking.uri",
            without_password(uri) or "nothing",
            "write sqlite:////absolute/path/mlflow.db or http(s)://host:port; leave it out for the default",
        )
    )


def without_password(uri: str) -> str:
    """The address without user name and password, fit for files and messages."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rsplit("@", 1)[1]))
