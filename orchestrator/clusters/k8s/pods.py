"""Pod templates of head, workers and submitter: restricted, with equal memory requests and limits."""

from __future__ import annotations

import copy
from typing import Any

from orchestrator.clusters.k8s.options import RenderOptions
from orchestrator.clusters.k8s.worker_groups import WorkerGroup

WORKSPACE = "/workspace"
CAMPAIGN_FOLDER = "/etc/adapterfleet/campaign"
PART_OF = "adapterfleet"
USER = 1000
STOP_SECONDS = 120  # between the order to end and SIGKILL
GRACE_SECONDS = 90  # of those, for the driver and the trainings; Ray's own processes end after them
RESTRICTED: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
READ_ONLY: dict[str, Any] = {**RESTRICTED, "readOnlyRootFilesystem": True}
SCRATCH = "/tmp"  # with the home in it, all that a campaign on Ray writes besides the store and /dev/shm
SCRATCH_GIB = 20  # of a Ray pod
SMALL = {"cpu": "500m", "memory": "1Gi"}  # what a pod gets that only hands over
PORTS = (("gcs-server", 6379), ("dashboard", 8265), ("client", 10001))


def labels(component: str) -> dict[str, str]:
    """Labels by which the network policies know a pod: `component` is ray, submitter or mlflow."""
    return {"app.kubernetes.io/part-of": PART_OF, "adapterfleet.io/component": component}


def head_template(options: RenderOptions) -> dict[str, Any]:
    """The head: driver and Ray's control plane. It runs no step, so a spot node must never carry it."""
    container = _ray_container("ray-head", options, {"cpu": "2", "memory": f"{options.head_memory_gib}Gi"}, {})
    container["ports"] = [{"name": name, "containerPort": port} for name, port in PORTS]
    pod = _pod("adapterfleet-head", container, _volumes(options, options.head_memory_gib))
    return _template(labels("ray"), {**pod, "terminationGracePeriodSeconds": STOP_SECONDS})


def with_campaign(template: dict[str, Any], config_map: str) -> dict[str, Any]:
    """The head's template with the campaign file in its place; the driver runs there, and leaves before the pod."""
    pod = copy.deepcopy(template["spec"])
    # In an evicted pod only Ray's first process gets SIGTERM: without the hook the driver would be killed.
    pod["containers"][0]["lifecycle"] = {
        "preStop": {"exec": {"command": ["adapterfleet", "stop", "--workspace", WORKSPACE]}}
    }
    mount = {"name": "campaign", "mountPath": CAMPAIGN_FOLDER, "readOnly": True}
    pod["containers"][0]["volumeMounts"].append(mount)
    pod["volumes"].append({"name": "campaign", "configMap": {"name": config_map}})
    return {**template, "spec": pod}


def worker_template(group: WorkerGroup, options: RenderOptions) -> dict[str, Any]:
    """One pod of `group`; CPU and memory requests equal limits, GPUs stand in the limits alone."""
    gpus = {"nvidia.com/gpu": str(group.gpus)} if group.gpus else {}
    requests = {"cpu": str(group.cpus), "memory": f"{group.memory_gib}Gi"}
    pod = _pod(
        "adapterfleet-worker",
        _ray_container("ray-worker", options, requests, gpus),
        _volumes(options, group.memory_gib),
    )
    pod["terminationGracePeriodSeconds"] = STOP_SECONDS
    return _template(labels("ray"), pod)


def submitter_template(options: RenderOptions) -> dict[str, Any]:
    """The pod that hands the job to the cluster and follows its log; it needs neither store nor secrets."""
    container = {
        "name": "ray-job-submitter",
        "image": options.image,
        "resources": {"requests": dict(SMALL), "limits": dict(SMALL)},
        "securityContext": dict(READ_ONLY),
        "env": [{"name": "HOME", "value": SCRATCH}],
        "volumeMounts": [{"name": "scratch", "mountPath": SCRATCH}],
    }
    pod = _pod("adapterfleet-submitter", container, [_scratch(1)])
    pod["restartPolicy"] = "Never"
    return _template(labels("submitter"), pod)


def autoscaler_options() -> dict[str, Any]:
    """Written even where autoscaling is off: switched on later, its container is as restricted as the others."""
    return {
        "version": "v2",
        "idleTimeoutSeconds": 300,
        "resources": {"requests": dict(SMALL), "limits": dict(SMALL)},
        "securityContext": dict(RESTRICTED),
    }


def _template(pod_labels: dict[str, str], pod: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"labels": pod_labels}, "spec": pod}


def _pod(account: str, container: dict[str, Any], volumes: list[dict[str, Any]]) -> dict[str, Any]:
    return {
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
        "volumes": volumes,
    }


def _ray_container(name: str, options: RenderOptions, requests: dict[str, str], gpus: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "image": options.image,
        "env": _environment(options),
        "resources": {"requests": requests, "limits": {**requests, **gpus}},
        "securityContext": dict(READ_ONLY),
        "volumeMounts": [
            {"name": "scratch", "mountPath": SCRATCH},
            {"name": "store", "mountPath": WORKSPACE},
            {"name": "shared-memory", "mountPath": "/dev/shm"},
        ],
    }


def _environment(options: RenderOptions) -> list[dict[str, Any]]:
    fixed = {
        "HOME": SCRATCH,
        "HF_HOME": f"{WORKSPACE}/cache/huggingface",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "RAY_USAGE_STATS_ENABLED": "0",
        "ADAPTERFLEET_GRACE_SECONDS": str(GRACE_SECONDS),
        # When the RayJob is deleted or suspended, KubeRay stops the driver; Ray would kill it after 3 seconds.
        "RAY_JOB_STOP_WAIT_TIME_S": str(GRACE_SECONDS + 5),
    }
    entries: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in fixed.items()]
    if options.hub_secret:
        reference = {"secretKeyRef": {"name": options.hub_secret, "key": "HF_TOKEN"}}
        entries.append({"name": "HF_TOKEN", "valueFrom": reference})
    return entries


def _volumes(options: RenderOptions, memory_gib: int) -> list[dict[str, Any]]:
    """What may be written, and /dev/shm for Ray's object store, NCCL and DeepSpeed: half of the memory at most."""
    shared = {"medium": "Memory", "sizeLimit": f"{memory_gib * 512}Mi"}
    return [
        _scratch(SCRATCH_GIB),
        {"name": "store", "persistentVolumeClaim": {"claimName": options.store_claim}},
        {"name": "shared-memory", "emptyDir": shared},
    ]


def _scratch(gib: int) -> dict[str, Any]:
    """Ray's session (logs, sent code, spilled objects) and caches of libraries: they go with the pod."""
    return {"name": "scratch", "emptyDir": {"sizeLimit": f"{gib}Gi"}}
