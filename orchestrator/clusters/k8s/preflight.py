"""What can be asked of a cluster before a campaign is submitted: whether its pods fit, and find what they refer to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.errors import Fault, InputError, raise_all
from orchestrator.clusters.k8s.api_errors import FORBIDDEN, NOT_FOUND, error_text, http_status


@dataclass(frozen=True, slots=True)
class NodeCapacity:
    """What a node offers, or a pod asks for: CPUs, bytes, GPUs."""

    cpus: float
    memory: float
    gpus: float

    @classmethod
    def of(cls, quantities: Mapping[str, str]) -> NodeCapacity:
        """From Kubernetes' quantities, such as a node's `allocatable` or a container's `limits`."""
        from kubernetes.utils import parse_quantity  # type: ignore[import-untyped,import-not-found]

        return cls(*(float(parse_quantity(quantities.get(name, "0"))) for name in ("cpu", "memory", "nvidia.com/gpu")))

    def holds(self, other: NodeCapacity) -> bool:
        """Whether `other` fits into an empty node of this size."""
        return self.cpus >= other.cpus and self.memory >= other.memory and self.gpus >= other.gpus

    def __str__(self) -> str:
        return f"{self.cpus:g} CPUs, {self.memory / 2**30:.3g} GiB, {self.gpus:g} GPUs"


def largest_node(rooms: Sequence[NodeCapacity]) -> NodeCapacity | None:
    """The node with most GPUs, then memory, then CPUs; None without nodes."""
    return max(rooms, key=lambda room: (room.gpus, room.memory, room.cpus), default=None)


def unplaceable(ray_job: Mapping[str, Any], rooms: Sequence[NodeCapacity]) -> Iterator[Fault]:
    """A fault for each worker group of which no node holds a pod, even an empty node."""
    largest = largest_node(rooms)
    if largest is None:
        return
    for group in ray_job["spec"]["rayClusterSpec"]["workerGroupSpecs"]:
        wanted = NodeCapacity.of(group["template"]["spec"]["containers"][0]["resources"]["limits"])
        if not any(room.holds(wanted) for room in rooms):
            todo = "lower the campaign's `resources` or the memory options, or add larger nodes"
            got = f"a pod asks for {wanted}; the largest node offers {largest}"
            yield Fault("the worker group can never be scheduled", f"worker group {group['groupName']}", got, todo)


# Kind of an object of the same namespace that has to be there -> how the client reads it, and what to do without it.
REFERRED = {
    "PersistentVolumeClaim": (
        "read_namespaced_persistent_volume_claim",
        "apply k8s/platform, or name another `store_claim` in the options",
    ),
    "Secret": ("read_namespaced_secret", "make it with kubectl create secret, or take `hub_secret` out of the options"),
    "ServiceAccount": ("read_namespaced_service_account", "apply k8s/platform"),
}


def references(ray_job: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Kind and name of all that the job's pods refer to, each once, in order."""
    cluster = ray_job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups] + [ray_job["spec"]["submitterPodTemplate"]["spec"]]
    return sorted({reference for pod in pods for reference in _of_pod(pod)})


def _of_pod(pod: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "ServiceAccount", pod["serviceAccountName"]
    for volume in pod.get("volumes", ()):
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
    for entry in (entry for container in pod["containers"] for entry in container.get("env", ())):
        if "secretKeyRef" in entry.get("valueFrom", {}):
            yield "Secret", entry["valueFrom"]["secretKeyRef"]["name"]


SECONDS = (5, 30)  # to connect, to answer


def preflight(core: Any, namespace: str, ray_job: Mapping[str, Any]) -> list[str]:
    """Notes on what this account may not look at; `core` is the client's CoreV1Api.

    Raises InputError when no node can hold a worker, or with all claims, accounts and secrets that are absent.
    """
    return [*_room(core, ray_job), *_references(core, namespace, ray_job)]


def _room(core: Any, ray_job: Mapping[str, Any]) -> Iterator[str]:
    try:
        with error_text("the nodes cannot be listed", "cluster"):
            nodes = core.list_node(_request_timeout=SECONDS).items
    except InputError as refused:
        if http_status(refused) != FORBIDDEN:
            raise
        yield "this account may not list nodes: whether the workers fit on one was not checked"
        return
    # A node that has only just joined has not said yet what it offers.
    rooms = [NodeCapacity.of(node.status.allocatable) for node in nodes if node.status and node.status.allocatable]
    raise_all(unplaceable(ray_job, rooms))
    if largest_node(rooms) is None:
        yield "the cluster has no nodes now: whether the workers fit was not checked"


def _references(core: Any, namespace: str, ray_job: Mapping[str, Any]) -> list[str]:
    notes, absent = [], []
    for kind, name in references(ray_job):
        read, todo = REFERRED[kind]
        try:
            with error_text("the object cannot be looked at", name):
                # Its presence is all that matters here: the content, a secret's above all, is not taken in.
                getattr(core, read)(name, namespace, _preload_content=False, _request_timeout=SECONDS).drain_conn()
        except InputError as refused:
            if http_status(refused) == NOT_FOUND:
                absent.append(Fault(f"the namespace has no such {kind}", namespace, name, todo))
            elif http_status(refused) == FORBIDDEN:
                notes.append(f"this account may not look whether the {kind} {name} is there")
            else:
                raise
    raise_all(absent)
    return notes
