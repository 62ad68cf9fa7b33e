"""Pod templates of head, workers and submitter: restricted, with equal memory requests and limits."""

from __future__ import annotations

import copy
from typing import Any

from orchestrator.k8s_options import RenderOptions
from orchestrator.k8s_shapes import Group

WORKSPACE = "/workspace"
CAMPAIGN_FOLDER = "/etc/adapterfleet/campaign"
PART_OF = "adapterfleet"
USER = 1000
STOP_SECONDS = 120  # between SIGTERM and SIGKILL
RESTRICTED: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
PORTS = (("gcs-server", 6379), ("dashboard", 8265), ("client", 10001))


def labels(component: str) -> dict[str, str]:
    """Labels by which the network policies know a pod: `component` is ray, submitter or mlflow."""
    return {"app.kubernetes.io/part-of": PART_OF, "adapterfleet.io/component": component}


def head_template(options: RenderOptions) -> dict[str, Any]:
    """The head: driver and Ray's control plane. It runs no step, so a spot node must never carry it."""
    container = _ray_container("ray-head", options, {"cpu": "2", **_memory(options.head_memory_gib)}, {})
    container["ports"] = [{"name": name, "containerPort": port} for name, port in PORTS]
    pod = _pod("adapterfleet-head", container, _volumes(options, options.head_memory_gib))
    return _template(labels("ray"), pod)


def with_campaign(template: dict[str, Any], config_map: str) -> dict[str, Any]:
    """The head's template with the campaign file in its place; the driver runs there."""
    pod = copy.deepcopy(template["spec"])
    mount = {"name": "campaign", "mountPath": CAMPAIGN_FOLDER, "readOnly": True}
    pod["containers"][0]["volumeMounts"].append(mount)
    pod["volumes"].append({"name": "campaign", "configMap": {"name": config_map}})
    return {**template, "spec": pod}


def worker_template(group: Group, options: RenderOptions) -> dict[str, Any]:
    """One pod of `group`; CPU and memory requests equal limits, GPUs stand in the limits alone."""
    gpus = {"nvidia.com/gpu": str(group.gpus)} if group.gpus else {}
    requests = {"cpu": str(group.cpus), **_memory(group.memory_gib)}
    pod = _pod(
        "adapterfleet-worker",
        _ray_container("ray-worker", options, requests, gpus),
        _volumes(options, group.memory_gib),
    )
    pod["terminationGracePeriodSeconds"] = STOP_SECONDS
    return _template(labels("ray"), pod)


def submitter_template(options: RenderOptions) -> dict[str, Any]:
    """The pod that hands the job to the cluster and follows its log; it needs neither store nor secrets."""
    resources = {"cpu": "500m", "memory": "1Gi"}
    container = {
        "name": "ray-job-submitter",
        "image": options.image,
        "resources": {"requests": dict(resources), "limits": dict(resources)},
        "securityContext": dict(RESTRICTED),
    }
    pod = _pod("adapterfleet-submitter", container, [])
    pod["restartPolicy"] = "Never"
    return _template(labels("submitter"), pod)


def autoscaler_options() -> dict[str, Any]:
    """Written even where autoscaling is off: switched on later, its container is as restricted as the others."""
    resources = {"cpu": "500m", "memory": "1Gi"}
    return {
        "version": "v2",
        "idleTimeoutSeconds": 300,
        "resources": {"requests": dict(resources), "limits": dict(resources)},
        "securityContext": dict(RESTRICTED),
    }


def _template(pod_labels: dict[str, str], pod: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"labels": pod_labels}, "spec": pod}


def _pod(account: str, container: dict[str, Any], volumes: list[dict[str, Any]]) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "serviceAccountName": account,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "tolerations": [],
        "containers": [container],
    }
    return {**pod, "volumes": volumes} if volumes else pod


def _ray_container(name: str, options: RenderOptions, requests: dict[str, str], gpus: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "image": options.image,
        "env": _environment(options),
        "resources": {"requests": requests, "limits": {**requests, **gpus}},
        "securityContext": dict(RESTRICTED),
        "volumeMounts": [
            {"name": "store", "mountPath": WORKSPACE},
            {"name": "shared-memory", "mountPath": "/dev/shm"},
        ],
    }


def _environment(options: RenderOptions) -> list[dict[str, Any]]:
    fixed = {
        "HF_HOME": f"{WORKSPACE}/cache/huggingface",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    entries: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in fixed.items()]
    if options.hub_secret:
        reference = {"secretKeyRef": {"name": options.hub_secret, "key": "HF_TOKEN"}}
        entries.append({"name": "HF_TOKEN", "valueFrom": reference})
    return entries


def _volumes(options: RenderOptions, memory_gib: int) -> list[dict[str, Any]]:
    """The store, and /dev/shm for Ray's object store, NCCL and DeepSpeed: half of the pod's memory at most."""
    shared = {"medium": "Memory", "sizeLimit": f"{memory_gib * 512}Mi"}
    return [
        {"name": "store", "persistentVolumeClaim": {"claimName": options.store_claim}},
        {"name": "shared-memory", "emptyDir": shared},
    ]


def _memory(gib: int) -> dict[str, str]:
    return {"memory": f"{gib}Gi"}
