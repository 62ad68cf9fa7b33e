"""Addresses that are none, tokens that are not there, and what a dashboard refuses: a line each, within seconds."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import ray
import typer

from jobs.errors import InputError
from orchestrator.cli.ray_jobs import _follow
from orchestrator.clusters.ray.connect import check_own_token, connect
from orchestrator.clusters.ray.jobs import RayJobs


class _Dashboard(BaseHTTPRequestHandler):
    """Answers as Ray's dashboard does. `answers`: path's end -> what it says, one after the other, the last for ever."""

    protocol_version = "HTTP/1.1"
    answers: dict[str, list[tuple[int, object]]]
    asked: list[tuple[str, str]]

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append((self.path, body.decode("utf-8", "replace")))
        version = {"version": "4", "ray_version": ray.__version__, "ray_commit": "", "session_name": ""}
        told = self.answers.get(f"{self.command} {self.path.partition('?')[0]}", [(200, version)])
        code, content = told.pop(0) if len(told) > 1 else told[0]
        text = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - the base class's names

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


@pytest.fixture
def dashboard() -> Iterator[tuple[str, type[_Dashboard]]]:
    handler = type("Handler", (_Dashboard,), {"answers": {}, "asked": []})
    # On every interface: Ray takes 127.0.0.1 for the address by which others reach this machine.
    server = ThreadingHTTPServer(("", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("address", ["127.0.0.1", "bogus", "", "host:", ":6379", "host:port", "a b:1", "http//x:1"])
def test_what_is_no_address_is_said_at_once(address):
    with pytest.raises(InputError, match="not the address of a cluster.*HOST:PORT"):
        connect(address)


def test_a_ray_of_one_s_own_that_does_not_start_is_one_line(monkeypatch, tmp_path):
    """Here because no socket can have so long a path; half a minute of a machine that is too busy ends in the same."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("deep" * 30)))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    with pytest.raises(
        InputError, match=r"Ray did not start on this machine \(got .*AF_UNIX.*\); run it again"
    ) as caught:
        connect(None)
    assert "\n" not in str(caught.value) and not ray.is_initialized()


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "no-such-host.invalid:6379"])
def test_an_address_that_leads_nowhere_is_one_line(address):
    with pytest.raises(InputError, match="no Ray cluster at the address"):
        connect(address)


def test_a_server_that_is_no_ray_is_told_from_one(dashboard):
    with pytest.raises(InputError, match="what answers there is no Ray cluster.*6379"):
        connect(dashboard[0].removeprefix("http://"))


def test_a_server_that_hangs_up_is_no_ray():
    with socket.create_server(("", 0)) as silent:
        hanging_up = threading.Thread(target=lambda: silent.accept()[0].close(), daemon=True)
        hanging_up.start()
        with pytest.raises(InputError, match="no Ray cluster"):
            connect(f"127.0.0.1:{silent.getsockname()[1]}")
        hanging_up.join(10)


@pytest.mark.parametrize("content", [None, b"", b" \n"])
def test_a_token_that_is_asked_for_and_not_there_is_one_line(monkeypatch, tmp_path, content, dashboard):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    if content is not None:
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
        (tmp_path / "token").write_bytes(content)
    for ask in (check_own_token, lambda: connect("127.0.0.1:6379"), lambda: RayJobs(dashboard[0])):
        with pytest.raises(InputError, match="RAY_AUTH_MODE is token, and there is no token") as refused:
            ask()
        assert str(tmp_path) in str(refused.value)
    assert dashboard[1].asked == []


def test_a_mode_that_is_none_is_refused_and_a_token_of_either_kind_is_enough(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_AUTH_MODE", "tokn")
    with pytest.raises(InputError, match="RAY_AUTH_MODE: no such mode"):
        check_own_token()
    monkeypatch.setenv("RAY_AUTH_MODE", "Token")
    (tmp_path / "token").write_text("x")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    check_own_token()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nowhere")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "x")
    check_own_token()


def test_a_bundle_beyond_what_the_dashboard_takes_is_one_line_that_says_what_to_do(dashboard, tmp_path):
    address, handler = dashboard
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "campaign.yaml").write_text("campaign: x")
    jobs = RayJobs(address)
    handler.answers = _Missing({"PUT": [(413, "Maximum request body size 104857600 exceeded.")]})
    with pytest.raises(InputError, match="too large to send .*100 MiB.*--files shared"):
        jobs.submit("x", tmp_path / "bundle", [], {})


class _Missing(dict):
    """Packages that the cluster does not have, whatever their names, and an answer for each method."""

    def get(self, key: str, default: object = None) -> object:
        method, _, path = key.partition(" ")
        if method in self:
            return self[method]
        return [(404, "Package does not exist")] if "/packages/" in path else default


def test_the_driver_is_started_by_whichever_python_the_nodes_have(dashboard, tmp_path):
    address, handler = dashboard
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "campaign.yaml").write_text("campaign: x")
    jobs = RayJobs(address)
    handler.answers = _Missing({"PUT": [(200, "")], "POST": [(200, {"job_id": "x", "submission_id": "x"})]})
    assert jobs.submit("x", tmp_path / "bundle", ["--workspace", "/a b"], {}) == "x"
    sent = json.loads(next(body for path, body in handler.asked if path.endswith("/api/jobs/") and body))
    line = sent["entrypoint"]
    assert line.endswith("-m orchestrator run campaign.yaml --address auto --workspace '/a b'")
    assert re.match(r'"\$\(command -v python \|\| command -v python3\)" ', line)


def job(status: str, message: str = "") -> dict[str, object]:
    return {"type": "SUBMISSION", "submission_id": "x", "job_id": "x", "status": status, "message": message,
            "entrypoint": "python", "metadata": {"adapterfleet": "c"}}  # fmt: skip


def test_a_job_is_stopped_when_it_has_left_and_not_before(dashboard):
    address, handler = dashboard
    jobs = RayJobs(address)
    left = [(200, job(status)) for status in ("RUNNING", "RUNNING", "STOPPED")]
    handler.answers = {"POST /api/jobs/x/stop": [(200, {"stopped": True})], "GET /api/jobs/x": left}
    assert jobs.stop("x")
    assert len(left) == 1, "it was asked until it had left"


def test_a_long_reason_keeps_its_end_where_ray_says_why(dashboard):
    address, handler = dashboard
    text = "Job entrypoint command failed with exit code 2, last available logs: " + "x " * 5000 + "error: no such file"
    handler.answers = {"GET /api/jobs/x": [(200, job("FAILED", text))]}
    told = RayJobs(address).state("x").message
    assert told.startswith("Job entrypoint command failed") and told.endswith("error: no such file")
    assert len(told) < 500


def test_a_refusal_of_the_dashboard_is_one_line(dashboard):
    address, handler = dashboard
    jobs = RayJobs(address)
    handler.answers = {"GET /api/jobs/x": [(500, "Traceback\n  something\n")], "GET /api/jobs/": [(503, "later\n")]}
    for ask in (lambda: jobs.state("x"), jobs.list):
        with pytest.raises(InputError, match="the cluster refuses") as refused:
            ask()
        assert "\n" not in str(refused.value)


def test_an_interrupt_while_a_job_is_followed_says_that_it_goes_on(capsys):
    class Following:
        def follow(self, job: str) -> Iterator[str]:
            yield "a line\n"
            raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as left:
        _follow(Following(), "x-1")
    said = capsys.readouterr()
    assert left.value.exit_code == 130 and said.out == "a line\n"
    assert said.err == (
        "x-1 goes on: `adapterfleet jobs logs -f x-1` follows it again, `adapterfleet jobs stop x-1` ends it\n"
    )
