"""Access to a cluster: the client's configuration, and its faults as InputErrors that say what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jobs.errors import Fault, InputError

CONFLICT, NOT_FOUND, FORBIDDEN, UNAUTHORIZED = 409, 404, 403, 401


def configured_client(context: str | None) -> Any:
    """The official client, set up for `context`. Raises InputError when it is not installed or finds no cluster."""
    try:
        from kubernetes import client, config  # type: ignore[import-untyped,import-not-found]
    except ImportError as missing:
        todo = "install the extra: pip install 'adapterfleet[k8s]'; `k8s render` works without it"
        raise InputError(Fault("the Kubernetes client is not installed", todo=todo)) from missing
    try:
        # The client's own choice falls back to the pod's account with a printed guess, and knows no context there.
        if context is None and "KUBECONFIG" not in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config()
        else:
            config.load_kube_config(os.environ.get("KUBECONFIG", "~/.kube/config"), context)
    except (config.ConfigException, OSError) as absent:
        todo = "set KUBECONFIG or --context, or use `k8s render` and `kubectl apply`"
        raise InputError(Fault("no Kubernetes cluster is configured", got=str(absent), todo=todo)) from absent
    settings = client.Configuration.get_default_copy()
    settings.retries = False
    client.Configuration.set_default(settings)
    return client


@contextmanager
def spoken(what: str, name: str) -> Iterator[None]:
    """Turn the client's faults into InputErrors that say what to do."""
    from kubernetes.client import ApiException  # type: ignore[import-untyped,import-not-found]
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as refused:
        raise InputError(_refusal(what, name, refused)) from refused
    except (HTTPError, OSError) as fault:
        raise InputError(_unreachable(fault)) from fault


def _refusal(what: str, name: str, refused: Any) -> Fault:
    todo = {
        UNAUTHORIZED: "log in to the cluster again",
        FORBIDDEN: "this account lacks the right; k8s/README.md lists which are needed",
        NOT_FOUND: "check the name and the namespace, and that KubeRay 1.7 is installed there",
        CONFLICT: "the campaign is there already: `adapterfleet k8s status`, or `stop` it first",
    }.get(refused.status, "")
    return Fault(what, name, f"{refused.status} {refused.reason}", todo)


def http_status(fault: InputError) -> int:
    """HTTP status of the API's refusal behind `fault`; 0 when it was none."""
    return int(getattr(fault.__cause__, "status", 0) or 0)


def _unreachable(fault: Exception) -> Fault:
    todo = "check the network and the kubeconfig's server address"
    return Fault("the Kubernetes cluster does not answer", got=type(fault).__name__, todo=todo)
