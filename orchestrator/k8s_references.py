"""What a RayJob refers to by name and does not bring along: a pod whose reference is absent waits for ever."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["Secret", "PersistentVolumeClaim", "ServiceAccount"]
REMEDY: dict[Kind, str] = {
    "Secret": "make it with kubectl create secret, or take `hub_secret` out of the options",
    "PersistentVolumeClaim": "apply k8s/platform, or name another `store_claim` in the options",
    "ServiceAccount": "apply k8s/platform",
}


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """An object of the same namespace that has to be there."""

    kind: Kind
    name: str


def references(ray_job: Mapping[str, Any]) -> list[Reference]:
    """Every reference of the job's pods, each once, in order."""
    cluster = ray_job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups] + [ray_job["spec"]["submitterPodTemplate"]["spec"]]
    return sorted({reference for pod in pods for reference in _of_pod(pod)})


def _of_pod(pod: Mapping[str, Any]) -> Iterator[Reference]:
    yield Reference("ServiceAccount", pod["serviceAccountName"])
    for volume in pod.get("volumes", ()):
        if "persistentVolumeClaim" in volume:
            yield Reference("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
    for entry in (entry for container in pod["containers"] for entry in container.get("env", ())):
        if "secretKeyRef" in entry.get("valueFrom", {}):
            yield Reference("Secret", entry["valueFrom"]["secretKeyRef"]["name"])
