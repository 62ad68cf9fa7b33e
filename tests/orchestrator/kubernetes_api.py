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
REFERRED = re.compile(r"/api/v1/namespaces/[^/]+/(secrets|persistentvolumeclaims|serviceaccounts)/([^/]+)")
NOT_KNOWN = (404, b"404 page not found\n")  # what a server says of a group that it does not serve
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
        self.refused: dict[str, tuple[int, Any]] = {}
        self.looks_until_gone = 0  # how often a deleted job is still seen, marked as such


@contextmanager
def serve(cluster: Cluster, folder: Path) -> Iterator[Path]:
    """Run the server and yield a kubeconfig that points at it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept, as real servers do

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
    for part, refusal in cluster.refused.items():
        if part in f"{method} {path}":
            return refusal
    if path == "/api/v1/nodes":
        return 200, {"kind": "NodeList", "items": [{"status": {"allocatable": node}} for node in cluster.nodes]}
    if found := JOBS.fullmatch(path):
        return _jobs(cluster, method, found[2], body)
    if found := MAPS.fullmatch(path):
        assert method == "PATCH" and query["fieldManager"]  # server-side apply
        cluster.maps[found[2]] = body
        return 200, body
    if found := REFERRED.fullmatch(path):
        kind, name = found.groups()
        return (200, {"data": {}}) if name in cluster.referred else _absent(kind, name)
    if found := PODS.fullmatch(path):
        if found[2]:
            return 200, cluster.log
        label, wanted = query["labelSelector"][0].split("=")
        items = [pod for pod in cluster.pods if pod["metadata"]["labels"].get(label) == wanted]
        return 200, {"kind": "PodList", "items": items}
    return NOT_KNOWN


def _jobs(cluster: Cluster, method: str, name: str | None, body: Any) -> tuple[int, Any]:
    if method == "POST":
        name = body["metadata"]["name"]
        if name in cluster.jobs:
            return refusal(409, "AlreadyExists", f'rayjobs.ray.io "{name}" already exists', "rayjobs")
        cluster.jobs[name] = {**body, "metadata": {**body["metadata"], "uid": f"uid-{name}"}}
        return 201, cluster.jobs[name]
    job = cluster.jobs.get(name or "")
    if job is None:
        return _absent("rayjobs", name)
    stopping = "deletionTimestamp" in job.get("metadata", {})
    if method == "DELETE":
        job.setdefault("metadata", {})["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    elif stopping:
        cluster.looks_until_gone -= 1
    if (method == "DELETE" or stopping) and cluster.looks_until_gone < 1:
        del cluster.jobs[str(name)]
    return 200, job


def _absent(kind: str, name: str | None) -> tuple[int, Any]:
    return refusal(404, "NotFound", f'{kind} "{name}" not found', kind)


def refusal(code: int, reason: str, message: str, kind: str) -> tuple[int, Any]:
    """A Status object, as a real server sends it with `code`."""
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    return code, {**status, "reason": reason, "details": {"kind": kind}, "code": code}
