"""Joining a Ray cluster: one of this process's own, the one of this machine, or one at HOST:PORT.

What a driver and its cluster must have alike is told by the one and checked by the other before anything runs.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import platform
import re
import secrets
import socket
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import AuthenticationError

import jobs
import orchestrator
import search_spaces
from jobs.errors import Fault, InputError, raise_all
from orchestrator.clusters.ray.private import canonical_address, check_token, loopback, start_ray_only_when_asked

SECONDS = 5.0  # a cluster that does not answer by then is not there; Ray itself waits for more than ten minutes
INSIDE_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # set where the code came with the job already
STAMP = "ADAPTERFLEET_SUBMITTED_WITH"  # environment variable that carries the submitter's versions
COMPARED = ("ray", "torch", "transformers", "adapters", "peft", "datasets")
_LOG = logging.getLogger(__name__)
_HOST_PORT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}")
# How a connection in HTTP/2 begins (RFC 9113, 3.4): fixed bytes, and a frame of settings, here without any.
_FRAME, _SETTINGS = 9, 4
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, _SETTINGS, 0, 0, 0, 0, 0])
TOKEN = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH as on the cluster"


def connect(address: str | None) -> None:
    """Start a cluster of one's own (None), or join one: `auto` or HOST:PORT.

    Raises InputError when its own does not start; within seconds when there is none to join, when it is of another
    version of Ray or Python (both are named), when it wants another token, and for addresses of Ray Client. From then
    on nothing else starts a cluster in this process (see `orchestrator.execution.ray.executor`).
    """
    start_ray_only_when_asked()
    if address is None:
        # A cluster of one's own is reached with a token that only this process and its children know.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        with loopback():
            _start()
        return
    if STAMP in os.environ:
        check_stamp(os.environ[STAMP])
    _check_reachable(address)
    try:
        dashboard = _init(address=address, runtime_env=_code())
    except (ConnectionError, RuntimeError) as fault:
        raise InputError(_error_text(address, fault)) from fault
    if not dashboard:
        _LOG.warning(
            "the cluster at %s has no dashboard, and Ray Train needs it to free a killed driver's places", address
        )


def _start() -> None:
    """A cluster on this machine. Ray waits half a minute for its own processes, and raises plain exceptions."""
    try:
        _init(address="local", include_dashboard=False)  # never one that runs on this machine already
    except Exception as fault:
        ray.shutdown()
        todo = "run it again when the machine has less to do, or with --executor local"
        said = " ".join(str(fault).split())
        raise InputError(Fault("Ray did not start on this machine", got=said, todo=todo)) from fault


def _init(**options: Any) -> str:
    """Join; the address of the cluster's dashboard, "" where there is none."""
    context = ray.init(log_to_driver=False, logging_level=logging.ERROR, configure_logging=True, **options)
    return str(context.dashboard_url or "")


def _code() -> dict[str, Any] | None:
    """This tree for the workers, so that they run what the driver runs; a submitted job has brought it."""
    if INSIDE_A_JOB in os.environ:
        return None
    packages = [str(Path(str(package.__file__)).parent) for package in (orchestrator, jobs, search_spaces)]
    return {"py_modules": packages, "excludes": ["__pycache__"]}


def _check_reachable(address: str) -> None:
    if address.startswith("ray://"):
        todo = "give http://HOST:8265 instead: the driver then runs inside the cluster"
        what = "Ray Client cannot drive a campaign: Ray Train and Tune would run far from their workers"
        raise InputError(Fault(what, "--address", address, todo))
    if address != "auto" and not _HOST_PORT.fullmatch(address):
        todo = "auto, HOST:PORT, or http://HOST:PORT"
        raise InputError(Fault("not the address of a cluster", "--address", address or "nothing", todo))
    check_own_token()
    todo = "start one with `ray start --head`, or leave --address out"
    found = canonical_address(address)
    if found is None:
        raise InputError(Fault("no Ray cluster runs on this machine", "--address", address, todo))
    host, _, port = found.rpartition(":")
    try:
        is_ray = _speaks_grpc(host.strip("[]"), int(port))
    except (OSError, OverflowError) as fault:
        raise InputError(Fault("no Ray cluster at the address", "--address", f"{found}: {fault}", todo)) from fault
    if not is_ray:
        todo = "give the port of `ray start --head` (6379), or http://HOST:PORT of the dashboard (8265)"
        raise InputError(Fault("what answers there is no Ray cluster", "--address", address, todo))
    try:
        check_token(found)
    except AuthenticationError as refused:
        raise InputError(Fault("the cluster does not take this token", "--address", address, TOKEN)) from refused


def _speaks_grpc(host: str, port: int) -> bool:
    """Whether HTTP/2 is answered in HTTP/2, as Ray's control plane does; Ray asks anything else for a minute.

    Raises OSError where nobody listens, or says nothing within `SECONDS`.
    """
    with socket.create_connection((host, port), SECONDS) as connection:
        if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
            return True
        connection.settimeout(SECONDS)
        connection.sendall(_HTTP2)
        answer = b""
        while len(answer) < _FRAME and (more := connection.recv(_FRAME - len(answer))):
            answer += more
    return len(answer) == _FRAME and answer[3] == _SETTINGS


def check_own_token() -> None:
    """Raises InputError where RAY_AUTH_MODE asks for a token and there is none, which Ray tells by a native stack."""
    mode = os.environ.get("RAY_AUTH_MODE", "").lower()
    if mode not in ("", "disabled", "token"):
        raise InputError(Fault("no such mode", "RAY_AUTH_MODE", mode, "set it to token or disabled"))
    if mode != "token" or os.environ.get("RAY_AUTH_TOKEN"):
        return
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not file.is_file() or not file.read_bytes().strip():
        todo = "set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to the file of the cluster's token"
        raise InputError(Fault("RAY_AUTH_MODE is token, and there is no token", str(file), todo=todo))


def _error_text(address: str, fault: Exception) -> Fault:
    text = str(fault)
    if "mismatch" in text:
        versions = re.findall(r"(?:Ray|Python): ([\w.]+)", text)
        got = "Ray {}, Python {} there; Ray {}, Python {} here".format(*versions) if len(versions) == 4 else text
        got = " ".join(got.split())
        return Fault("driver and cluster differ", "--address", got, "use the same versions on both")
    return Fault("the cluster cannot be joined", "--address", f"{address}: {text.splitlines()[0]}", TOKEN)


def stamp() -> str:
    """This process's Python and library versions, as JSON."""
    python = ".".join(platform.python_version_tuple()[:2])
    return json.dumps({"python": python, **{name: _version(name) for name in COMPARED}}, sort_keys=True)


def check_stamp(theirs: str) -> None:
    """Raises InputError that names both versions of everything that differs from `theirs`; the text of `stamp`."""
    there, here = json.loads(theirs), json.loads(stamp())
    todo = "install the same on both, or submit from the image that the cluster runs"
    raise_all(
        Fault("driver and cluster differ", name, f"{there[name]} where it was submitted, {here.get(name)} here", todo)
        for name in sorted(there)
        if there[name] != here.get(name)
    )


def _version(name: str) -> str:
    """Without the part after +, which tells CPU and CUDA builds apart."""
    return importlib.metadata.version(name).partition("+")[0]
