"""Where MLflow's database and files lie: in the workspace that they are of, or it is said."""

from __future__ import annotations

import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from jobs.errors import InputError
from orchestrator.lineage.mlflow.connection import connect
from orchestrator.lineage.mlflow.uri import ARTIFACTS, DATABASE, default_uri
from orchestrator.lineage.mlflow.writer import Writer, rebuild, send
from orchestrator.store.artifacts import ArtifactStore
from tests.orchestrator.lineage_campaign import make_campaign
from tests.orchestrator.mlflow_content import content


def files(folder: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


def test_a_copied_workspace_writes_nothing_into_the_one_that_it_was_copied_from(tmp_path: Path) -> None:
    made = make_campaign(tmp_path / "first")
    root, other = made.store.root, tmp_path / "second"
    send(default_uri(root), root, made.name)
    shutil.copytree(root, other)
    before = files(root / ARTIFACTS)
    with pytest.raises(InputError, match="the workspace was copied or moved.*remove mlflow.db.*--rebuild toy"):
        rebuild(default_uri(other), other, made.name)
    said: list[str] = []
    Writer(default_uri(other), ArtifactStore(other), made.index, said.append).close(60)
    assert any("the workspace was copied or moved" in line for line in said)
    (other / DATABASE).unlink()
    assert rebuild(default_uri(other), other, made.name) == len(made.steps)
    found = content(connect(default_uri(other)), made.name)
    assert all(found[step.key]["status"] == "FINISHED" for step in made.steps)
    assert files(root / ARTIFACTS) == before and files(other / ARTIFACTS)


def test_a_database_cannot_lie_where_its_address_would_be_read_otherwise(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot lie in a path with a \?"):
        default_uri(tmp_path / "a?b")
    odd = tmp_path / "a%20b #1"
    odd.mkdir()
    connect(default_uri(odd))
    assert (odd / DATABASE).is_file() and [path.name for path in tmp_path.iterdir()] == [odd.name]


class _Closed(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.end_headers()
        self.wfile.write(b"You are not authenticated.")

    do_POST = do_GET  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


def test_a_server_that_wants_a_log_in_is_told_from_one_that_does_not_answer(tmp_path: Path) -> None:
    made = make_campaign(tmp_path / "ws")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Closed)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(InputError, match="wants another log-in.*MLFLOW_TRACKING_USERNAME"):
        rebuild(f"http://127.0.0.1:{server.server_port}", made.store.root, made.name)
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError, match="does not answer"):
        rebuild(f"http://127.0.0.1:{server.server_port}", made.store.root, made.name)
