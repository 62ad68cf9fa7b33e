"""Rules that no schema holds: those of KubeRay's controller (1.7), of Kueue, and our own for every pod."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
ORDER = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")
QUEUE = "kueue.x-k8s.io/queue-name"


def controller_faults(document: dict[str, Any]) -> list[str]:
    faults = []
    kind, spec = document["kind"], document.get("spec", {})
    name, limit = document["metadata"]["name"], {"RayJob": 47, "RayCluster": 53}[kind]
    if len(name) > limit or not LABEL.fullmatch(name):
        faults.append(f"{name} is no DNS-1035 label of at most {limit} characters")
    cluster = spec["rayClusterSpec"] if kind == "RayJob" else spec
    faults += _cluster(cluster)
    if kind == "RayJob":
        faults += _job(spec, cluster)
        if QUEUE in document["metadata"].get("labels", {}):
            faults += _kueue(spec, cluster)
    return faults


def _job(spec: dict[str, Any], cluster: dict[str, Any]) -> Iterator[str]:
    shutdown, strategy = spec.get("shutdownAfterJobFinishes", False), spec.get("deletionStrategy")
    if spec.get("suspend") and not shutdown:
        yield "suspend needs shutdownAfterJobFinishes"
    if spec.get("ttlSecondsAfterFinished", 0) > 0 and not shutdown:
        yield "ttlSecondsAfterFinished needs shutdownAfterJobFinishes"
    if spec.get("backoffLimit", 0) < 0:
        yield "backoffLimit is negative"
    if spec.get("backoffLimit", 0) > 0 and spec.get("submissionMode") == "InteractiveMode":
        yield "backoffLimit excludes InteractiveMode"
    for key in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if spec.get(key, 1) <= 0:
            yield f"{key} is not positive"
    if spec.get("submissionMode") == "SidecarMode" and {"submitterPodTemplate", "submitterConfig"} & set(spec):
        yield "SidecarMode has no submitter of its own"
    if strategy is not None:
        yield from _deletion(strategy, shutdown, cluster)


def _deletion(strategy: dict[str, Any], shutdown: bool, cluster: dict[str, Any]) -> Iterator[str]:
    rules, legacy = strategy.get("deletionRules") or [], {"onSuccess", "onFailure"} & set(strategy)
    if rules and shutdown:
        yield "deletionRules exclude shutdownAfterJobFinishes"
    if bool(rules) == bool(legacy):
        yield "deletionStrategy holds either deletionRules, or onSuccess and onFailure"
    times: dict[tuple[str, str], dict[str, int]] = {}
    for number, rule in enumerate(rules):
        condition = dict(rule["condition"])
        seconds = condition.pop("ttlSeconds", 0)
        if len(condition) != 1:
            yield f"deletionRules[{number}]: exactly one of jobStatus and jobDeploymentStatus"
            continue
        if seconds < 0:
            yield f"deletionRules[{number}]: ttlSeconds is negative"
        if rule["policy"] == "DeleteWorkers" and cluster.get("enableInTreeAutoscaling"):
            yield f"deletionRules[{number}]: DeleteWorkers excludes autoscaling"
        known = times.setdefault(next(iter(condition.items())), {})
        if rule["policy"] in known:
            yield f"deletionRules[{number}]: given twice"
        known[rule["policy"]] = seconds
    for status, by_policy in times.items():
        ordered = [by_policy[policy] for policy in ORDER if policy in by_policy]
        if ordered != sorted(ordered):
            yield f"{status}: workers go before the cluster, the cluster before the job"


def _cluster(spec: dict[str, Any]) -> Iterator[str]:
    autoscaled = spec.get("enableInTreeAutoscaling", False)
    head = spec["headGroupSpec"]
    for group in (head, *spec["workerGroupSpecs"]):
        name, given = group.get("groupName", "head"), group.get("rayStartParams", {})
        if group.get("resources") and {"num-cpus", "num-gpus", "memory", "resources"} & set(given):
            yield f"{name}: resources stand in both rayStartParams and resources"
        if "labels" in given:
            yield f"{name}: labels do not belong into rayStartParams"
        if autoscaled and group["template"]["spec"].get("restartPolicy", "Never") != "Never":
            yield f"{name}: with autoscaler v2, restartPolicy is Never or unset"
    for group in spec["workerGroupSpecs"]:
        if autoscaled and group.get("suspend"):
            yield f"{group['groupName']}: a suspended group excludes autoscaling"
        if group.get("minReplicas", 0) > group.get("maxReplicas", 2**31):
            yield f"{group['groupName']}: minReplicas is more than maxReplicas"
        if not autoscaled and not {"minReplicas", "maxReplicas"} <= set(group):
            yield f"{group['groupName']}: without autoscaling both minReplicas and maxReplicas are needed"
    names = {entry["name"] for entry in head["template"]["spec"]["containers"][0].get("env", [])}
    if names & {"REDIS_PASSWORD", "RAY_REDIS_ADDRESS", "REDIS_USERNAME"}:
        yield "Redis is set up by gcsFaultToleranceOptions alone"
    if "RAY_enable_autoscaler_v2" in names:
        yield "the autoscaler's version stands in autoscalerOptions alone"
    if spec.get("authOptions", {}).get("mode") == "token":
        version = tuple(int(part) for part in spec.get("rayVersion", "0").split("."))
        if version < (2, 52, 0):
            yield "token authentication needs rayVersion 2.52.0 or later"
    else:
        yield "token authentication is off"


def _kueue(spec: dict[str, Any], cluster: dict[str, Any]) -> Iterator[str]:
    if not spec.get("shutdownAfterJobFinishes"):
        yield "Kueue needs shutdownAfterJobFinishes"
    if cluster.get("enableInTreeAutoscaling"):
        yield "Kueue does not admit a job with autoscaling"
    if len(cluster["workerGroupSpecs"]) > 7:
        yield "Kueue takes at most seven worker groups"


def pods(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every pod template of a document, by its place."""
    spec = document.get("spec") or {}
    if document["kind"] in ("Deployment", "StatefulSet"):
        return {"pod": spec["template"]}
    if document["kind"] not in ("RayJob", "RayCluster"):
        return {}
    cluster = spec["rayClusterSpec"] if document["kind"] == "RayJob" else spec
    found = {"head": cluster["headGroupSpec"]["template"]}
    found |= {f"workers {group['groupName']}": group["template"] for group in cluster["workerGroupSpecs"]}
    return found | ({"submitter": spec["submitterPodTemplate"]} if document["kind"] == "RayJob" else {})


def containers(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every container, the autoscaler's options among them."""
    found = {}
    for place, pod in pods(document).items():
        spec = pod["spec"]
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            found[f"{place}/{container['name']}"] = container
    if document["kind"] in ("RayJob", "RayCluster"):
        cluster = document["spec"].get("rayClusterSpec", document["spec"])
        found["autoscaler"] = cluster["autoscalerOptions"]
    return found


def pod_faults(document: dict[str, Any]) -> list[str]:
    """Pod Security Standard `restricted`, equal memory, no token mounted without need, secrets by reference."""
    faults = []
    for place, container in containers(document).items():
        faults += [f"{place}: {fault}" for fault in _container(container)]
    autoscaled = document["kind"] == "RayJob" and document["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"]
    for place, pod in pods(document).items():
        spec = pod["spec"]
        if {"hostNetwork", "hostPID", "hostIPC"} & set(spec):
            faults.append(f"{place}: shares a namespace of the host")
        if any(set(volume) & {"hostPath"} for volume in spec.get("volumes", ())):
            faults.append(f"{place}: mounts a path of the host")
        if not spec.get("securityContext", {}).get("runAsUser"):
            faults.append(f"{place}: no user, or root")
        if spec.get("automountServiceAccountToken", True) and not (place == "head" and autoscaled):
            faults.append(f"{place}: mounts a token that it does not need")
        if "adapterfleet.io/component" not in pod["metadata"]["labels"]:
            faults.append(f"{place}: the network policies do not know it")
        if place.startswith(("head", "workers")):
            faults += [f"{place}: {fault}" for fault in _ray_pod(spec)]
        if document["kind"] == "RayJob" and place == "head" and "lifecycle" not in spec["containers"][0]:
            faults.append(f"{place}: an eviction kills the driver")
    return faults


def _container(container: dict[str, Any]) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False or context.get("runAsNonRoot") is not True:
        yield "may become root"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield "keeps capabilities"
    if context.get("readOnlyRootFilesystem") is not True and "image" in container:  # KubeRay makes the autoscaler's
        yield "may write to its root"
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "no seccomp profile"
    if context.get("privileged"):
        yield "privileged"
    resources = container.get("resources", {})
    requests, limits = resources.get("requests", {}), resources.get("limits", {})
    if not requests.get("memory") or requests["memory"] != limits.get("memory"):
        yield "memory request and limit differ"
    if "nvidia.com/gpu" in requests:
        yield "GPUs stand in the limits alone"
    for entry in container.get("env", ()):
        if re.search("TOKEN|SECRET|PASSWORD|ACCESS_KEY", entry["name"]) and "value" in entry:
            yield f"{entry['name']} is written out"


def _ray_pod(spec: dict[str, Any]) -> Iterator[str]:
    if not _shared_memory(spec):
        yield "/dev/shm is no memory volume"
    waits = {entry["name"]: entry.get("value", "0") for entry in spec["containers"][0]["env"]}
    grace, stop = (int(waits.get(name, 0)) for name in ("ADAPTERFLEET_GRACE_SECONDS", "RAY_JOB_STOP_WAIT_TIME_S"))
    if not 0 < grace < stop < spec.get("terminationGracePeriodSeconds", 30):
        yield "the pod is killed before its processes have left"


def _shared_memory(spec: dict[str, Any]) -> bool:
    names = {mount["name"] for mount in spec["containers"][0]["volumeMounts"] if mount["mountPath"] == "/dev/shm"}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    return any(volumes[name].get("emptyDir", {}).get("medium") == "Memory" for name in names)
