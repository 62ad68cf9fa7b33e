"""The reading half of a hub of models and data sets: folders served at one commit each, by its HTTP interface."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


class Hub(ThreadingHTTPServer):
    """`folders`: `models/me/tiny` or `datasets/me/texts` -> its files at `COMMIT`; it has no other revision.

    `asked` holds every request as (method, path). Files of a repository of `gated` are
    refused. Of each file in `cut` the first
    transfer breaks off in the middle.
    """

    daemon_threads = True

    def __init__(self, folders: Mapping[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.folders, self.gated, self.cut = dict(folders), set[str](), set[str]()
        self.asked: list[tuple[str, str]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def hub_server(folders: Mapping[str, Path]) -> Iterator[Hub]:
    """Serve until the end of the block."""
    hub = Hub(folders)
    threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()


class _Answer(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._route("HEAD", b"")

    def do_GET(self) -> None:
        self._route("GET", b"")

    def do_POST(self) -> None:
        self._route("POST", self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _route(self, method: str, body: bytes) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append((method, path))
        words = path.strip("/").split("/")
        if words[0] == "api":
            repository, rest = "/".join(words[1:4]), words[4:]
        elif words[0] == "datasets":
            repository, rest = "/".join(words[:3]), words[3:]
        else:
            repository, rest = f"models/{'/'.join(words[:2])}", words[2:]
        closed = repository in self.server.gated
        if closed and rest[:1] in (["auth-check"], ["resolve"]):
            self._refuse(403, "GatedRepo", f"Access to {repository} is restricted")
        elif repository not in self.server.folders:
            self._refuse(404, "RepoNotFound", "Repository not found")
        elif len(rest) < 2 or rest[1] != COMMIT:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {rest[1] if len(rest) > 1 else 'main'}")
        else:
            self._answer(repository, rest[0], "/".join(rest[2:]), body)

    def _answer(self, repository: str, what: str, inside: str, body: bytes) -> None:
        folder = self.server.folders[repository]
        files = {f.relative_to(folder).as_posix(): f for f in sorted(folder.rglob("*")) if f.is_file()}
        if what == "revision":
            siblings = [{"rfilename": name} for name in files]
            named = repository.split("/", 1)[1]
            closed = repository in self.server.gated
            self._json(
                {
                    "_id": "1",
                    "id": named,
                    "sha": COMMIT,
                    "private": False,
                    "gated": closed and "manual",
                    "tags": [],
                    "siblings": siblings,
                }
            )
        elif what == "tree":
            self._json(
                [_entry(name, files) for name in _below(inside, files)] if inside in ("", *_all(files)) else None
            )
        elif what == "paths-info":
            asked = json.loads(body) if body.startswith(b"{") else parse_qs(body.decode())
            self._json([_entry(name, files) for name in asked["paths"] if name in _all(files)])
        elif what == "resolve" and inside in files:
            self._file(files[inside], inside)
        else:
            self._refuse(404, "EntryNotFound", f"{inside} does not exist")

    def _file(self, file: Path, name: str) -> None:
        data = file.read_bytes()
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if name in self.server.cut:
            self.server.cut.remove(name)
            self.wfile.write(data[start : start + (len(data) - start) // 2])
            self.close_connection = True
            return
        self.wfile.write(data[start:])

    def _refuse(self, code: int, name: str, text: str) -> None:
        self._json({"error": text}, code, {"X-Error-Code": name, "X-Error-Message": text})

    def _json(self, content: Any, code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        if content is None:
            return self._refuse(404, "EntryNotFound", "no such folder")
        data = json.dumps(content).encode()
        self.send_response(code)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        return self.wfile.write(b"" if self.command == "HEAD" else data) and None

    def log_message(self, *words: Any) -> None:
        """Quiet."""


def _all(files: Mapping[str, Path]) -> set[str]:
    """Files and the folders that hold them."""
    return {*files, *(p.as_posix() for name in files for p in Path(name).parents if p.as_posix() != ".")}


def _below(folder: str, files: Mapping[str, Path]) -> list[str]:
    """What lies under `folder`, at any depth."""
    return sorted(name for name in _all(files) if not folder or name.startswith(f"{folder}/"))


def _entry(name: str, files: Mapping[str, Path]) -> dict[str, Any]:
    if name not in files:
        return {"type": "directory", "path": name, "oid": hashlib.sha256(name.encode()).hexdigest()[:40], "size": 0}
    data = files[name].read_bytes()
    return {"type": "file", "path": name, "oid": hashlib.sha256(data).hexdigest()[:40], "size": len(data)}
