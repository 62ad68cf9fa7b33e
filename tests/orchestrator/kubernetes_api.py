"""A small API server on loopback: enough of Kubernetes' REST interface for the official client to talk to."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

JOBS = re.compile(r"/apis/ray\.io/v1/namespaces/([^/]+)/rayjobs(?:/([^/]+))?")
MAPS = re.compile(r"/api/v1/namespaces/([^/]+)/configmaps(?:/([^/]+))?")
REFERRED = re.compile(r"/api/v1/namespaces/[^/]+/(?:secrets|persistentvolumeclaims|serviceaccounts)/([^/]+)")
PODS = re.compile(r"/api/v1/namespaces/([^/]+)/pods(?:/([^/]+)/log)?")


class Cluster:
    """State of the server: objects by kind and name, and what it refuses."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.maps: dict[str, dict[str, Any]] = {}
        self.pods: list[dict[str, Any]] = []
        self.log = b""
        self.referred = {"adapterfleet-store", *(f"adapterfleet-{who}" for who in ("head", "worker", "submitter"))}
        self.nodes = [{"cpu": "16", "memory": "64Gi", "nvidia.com/gpu": "1"}]
        self.refused: dict[str, int] = {}


@contextmanager
def serve(cluster: Cluster, folder: Path) -> Iterator[Path]:
    """Run the server and yield a kubeconfig that points at it."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, content = answer(cluster, self.command, self.path, body)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(content, bytes) else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = do_PATCH = _handle  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield kubeconfig(folder, f"http://127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        server.server_close()


def kubeconfig(folder: Path, address: str) -> Path:
    """A kubeconfig for a server without authentication."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": address}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def answer(cluster: Cluster, method: str, url: str, body: Any) -> tuple[int, Any]:
    """Status and content of one request."""
    path, query = urlsplit(url).path, parse_qs(urlsplit(url).query)
    for part, status in cluster.refused.items():
        if part in f"{method} {path}":
            return status, {"kind": "Status", "reason": "refused", "code": status}
    if path == "/api/v1/nodes":
        return 200, {"kind": "NodeList", "items": [{"status": {"allocatable": node}} for node in cluster.nodes]}
    if found := JOBS.fullmatch(path):
        return _objects(cluster.jobs, method, found[2], body)
    if found := MAPS.fullmatch(path):
        return _objects(cluster.maps, method, found[2], body)
    if found := REFERRED.fullmatch(path):
        return (200, {"data": {}}) if found[1] in cluster.referred else (404, {"kind": "Status", "code": 404})
    if found := PODS.fullmatch(path):
        if found[2]:
            return 200, cluster.log
        wanted = query["labelSelector"][0].split("=")[1]
        items = [pod for pod in cluster.pods if pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == wanted]
        return 200, {"kind": "PodList", "items": items}
    return 404, {"kind": "Status", "code": 404}


def _objects(there: dict[str, Any], method: str, name: str | None, body: Any) -> tuple[int, Any]:
    if method == "POST":
        name = body["metadata"]["name"]
        if name in there:
            return 409, {"kind": "Status", "code": 409}
        there[name] = {**body, "metadata": {**body["metadata"], "uid": f"uid-{name}"}}
        return 201, there[name]
    if name not in there:
        return 404, {"kind": "Status", "code": 404}
    if method == "DELETE":
        del there[name]
        return 200, {"kind": "Status", "status": "Success"}
    if method == "PATCH":
        there[name]["metadata"] |= body["metadata"]
    return 200, there[name]
