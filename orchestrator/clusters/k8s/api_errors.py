"""What the cluster's refusals mean: from the official client's exceptions to one line that says what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jobs.errors import Fault, InputError

BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT, UNPROCESSABLE = 400, 401, 403, 404, 409, 422
LONGEST = 600  # characters of the server's own words


@contextmanager
def error_text(what: str, name: str) -> Iterator[None]:
    """Turn the client's faults into InputErrors that say what to do."""
    from kubernetes.client import ApiException  # type: ignore[import-untyped,import-not-found]
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as refused:
        raise InputError(_refusal(what, name, refused)) from refused
    except AttributeError as lost:
        # The client meets a failed TLS handshake with an exception of its own, and then fails over its empty body.
        if not isinstance(lost.__context__, ApiException):
            raise
        raise InputError(_unreachable(str(lost.__context__.reason))) from lost
    except (HTTPError, OSError) as fault:
        raise InputError(_unreachable(f"{type(fault).__name__}: {fault}")) from fault


def http_status(fault: InputError) -> int:
    """HTTP status of the API's refusal behind `fault`; 0 when it was none."""
    return int(getattr(fault.__cause__, "status", 0) or 0)


def _refusal(what: str, name: str, refused: Any) -> Fault:
    message, about = _words(refused.body)
    got = f"{refused.status} {refused.reason}" + (f": {message}" if message else "")
    return Fault(what, name, got, _todo(int(refused.status), message, about))


def _todo(status: int, message: str, about: str) -> str:
    match status:
        case 401:
            return "log in to the cluster again"
        case 403 if "exceeded quota" in message:
            return "the namespace's quota is used up: lower the campaign's `resources`, or have it raised"
        case 403 if "being terminated" in message:
            return "the namespace is being deleted: wait for its end, then apply k8s/platform"
        case 403:
            return "this account lacks the right; k8s/README.md lists which are needed"
        case 404 if about == "":
            return "this cluster does not know ray.io/v1: install KubeRay 1.7"
        case 404 if about == "namespaces":
            return "apply k8s/platform, or name another namespace"
        case 404:
            return "check the name and the namespace"
        case 400 if "unknown field" in message:
            return "this cluster's KubeRay is too old for the fields: install KubeRay 1.7"
        case 409:
            return "try again"
        case _ if status == 429 or status >= 500:
            return "the cluster is overloaded or failing: try again later"
        case _:
            return ""


def _words(body: Any) -> tuple[str, str]:
    """What a Status object says, and the kind of object that its details name; anything else says nothing."""
    try:
        status = json.loads(body or "{}")
    except ValueError:
        return "", ""  # such as `404 page not found`
    if not isinstance(status, dict):
        return "", ""
    return one_line(str(status.get("message") or "")), str((status.get("details") or {}).get("kind") or "")


def one_line(text: str) -> str:
    """Printable characters alone, in one line, and not without end."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    line = " ".join(line.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


def _unreachable(fault: str) -> Fault:
    todo = "check the network, and address and certificate of the server in the kubeconfig"
    return Fault("the Kubernetes cluster does not answer", got=one_line(fault), todo=todo)
