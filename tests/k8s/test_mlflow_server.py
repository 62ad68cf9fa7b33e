"""The real MLflow server, started with the manifest's own arguments and variables."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest
import yaml

from tests.k8s.kustomize import K8S

VALUES = {"backend-store-uri": "sqlite:///{folder}/mlflow.db", "artifacts-destination": "{folder}/artifacts"}


def _container():
    documents = yaml.safe_load_all((K8S / "platform" / "mlflow.yaml").read_text(encoding="utf-8"))
    deployment = next(document for document in documents if document["kind"] == "Deployment")
    return deployment["spec"]["template"]["spec"]["containers"][0]


def _environment(container, folder):
    """What the kubelet would set, with a Secret that names a database and a folder of this test."""
    values = {}
    for entry in container["env"]:
        reference = entry.get("valueFrom", {}).get("secretKeyRef", {"key": None, "optional": True})
        if "value" in entry:
            values[entry["name"]] = str(folder) if entry["name"] == "HOME" else entry["value"]
        elif not reference.get("optional"):
            values[entry["name"]] = VALUES[reference["key"]].format(folder=folder)
    return values


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    container = _container()
    changed = {"--host": "127.0.0.1", "--port": str(port), "--workers": "1"}
    arguments = [_changed(argument, changed) for argument in container["args"]]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *container["command"], *arguments],
            env=environment | _environment(container, folder),
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _wait(process, port, folder / "log")
            yield port
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert (folder / "mlflow.db").is_file()


def _changed(argument, changed):
    key = argument.split("=", 1)[0]
    return f"{key}={changed[key]}" if key in changed else argument


def _wait(process, port, log):
    for _ in range(240):
        assert process.poll() is None, log.read_text(errors="replace")
        try:
            if _get(port, "/health", "10.1.2.3:5000") == 200:
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(log.read_text(errors="replace"))


def _get(port, path, host):
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path, headers={"Host": host})
        return connection.getresponse().status
    finally:
        connection.close()


def test_it_answers_to_the_address_that_a_rendered_job_is_given(port):
    text = (K8S / "base" / "rayjob.yaml").read_text(encoding="utf-8")
    host = re.search(r"--tracking http://(\S+)", text)[1]
    assert _get(port, "/api/2.0/mlflow/experiments/get?experiment_id=0", host) == 200


def test_the_kubelets_probe_passes_whatever_its_host_header(port):
    assert _get(port, _container()["livenessProbe"]["httpGet"]["path"], "10.9.8.7:5000") == 200


def test_another_host_header_is_refused(port):
    assert _get(port, "/api/2.0/mlflow/experiments/get?experiment_id=0", "attacker.example:5000") == 403
