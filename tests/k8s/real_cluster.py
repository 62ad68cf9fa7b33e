"""A namespace of its own on the cluster that ADAPTERFLEET_KUBECONFIG names; no other configuration is ever read."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.k8s.kustomize import K8S, build, only

VARIABLE = "ADAPTERFLEET_KUBECONFIG"


@dataclass(frozen=True)
class RealCluster:
    """Runs kubectl as the administrator of `kubeconfig`, in `namespace`."""

    kubeconfig: Path
    namespace: str

    def kubectl(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        # The dispatcher of some distributions looks at the home directory for a kubectl of the cluster's version.
        command = ["kubectl", "--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace, *words]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=120)

    def apply(self, documents: list[dict[str, Any]], *words: str) -> subprocess.CompletedProcess[str]:
        text = yaml.safe_dump_all([self.at_home(document) for document in documents])
        fixed = ("--server-side", "--validate=strict", "--force-conflicts", "--field-manager=adapterfleet-test")
        return self.kubectl("apply", *fixed, *words, "--filename=-", stdin=text)

    def at_home(self, document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "metadata": {**document["metadata"], "namespace": self.namespace}}

    def get(self, kind: str, name: str) -> dict[str, Any]:
        answer = self.kubectl("get", kind, name, "--output=json")
        assert answer.returncode == 0, answer.stderr
        found: dict[str, Any] = json.loads(answer.stdout)
        return found


@contextmanager
def real_cluster() -> Iterator[RealCluster]:
    """The platform without its deployments in a namespace that is removed at the end; skips where there is none."""
    if VARIABLE not in os.environ:
        pytest.skip(f"{VARIABLE} names no kubeconfig of a cluster with KubeRay's CRDs")
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    cluster = RealCluster(Path(os.environ[VARIABLE]), f"adapterfleet-test-{secrets.token_hex(4)}")
    answer = cluster.kubectl("get", "crd", "rayjobs.ray.io", "rayclusters.ray.io")
    if answer.returncode != 0:
        pytest.skip(f"no cluster with KubeRay's CRDs: {answer.stderr.strip()}")
    namespace = only(build(K8S / "platform"), "Namespace")
    named = {**namespace, "metadata": {**namespace["metadata"], "name": cluster.namespace}}
    made = cluster.kubectl("create", "--filename=-", stdin=yaml.safe_dump(named))
    assert made.returncode == 0, made.stderr
    try:
        platform = [
            d for d in build(K8S / "overlays/bucket") if d["kind"] in ("ServiceAccount", "Role", "NetworkPolicy")
        ]
        claim = only(build(K8S / "platform"), "PersistentVolumeClaim")
        applied = cluster.apply([*platform, claim])
        assert applied.returncode == 0, applied.stderr
        yield cluster
    finally:
        cluster.kubectl("delete", "namespace", cluster.namespace, "--wait=false")
