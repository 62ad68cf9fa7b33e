"""Access to a cluster: the official client, set up from the kubeconfig or the pod that this runs in."""

from __future__ import annotations

import os
from typing import Any

import yaml

from jobs.errors import Fault, InputError
from orchestrator.k8s_refusals import one_line

# The client indexes whatever a file holds that is no kubeconfig.
NO_KUBECONFIG = (OSError, yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError)


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
    except (config.ConfigException, *NO_KUBECONFIG) as absent:
        got = one_line(f"{type(absent).__name__}: {absent}")
        todo = "set KUBECONFIG or --context, or use `k8s render` and `kubectl apply`"
        raise InputError(Fault("no Kubernetes cluster is configured", got=got, todo=todo)) from absent
    settings = client.Configuration.get_default_copy()
    settings.retries = False
    client.Configuration.set_default(settings)
    return client
