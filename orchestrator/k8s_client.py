"""The cluster's API through the official client: submit, look, follow, stop. Needs the extra `k8s`.

Every fault of access (no client, no cluster, no rights, no KubeRay) is an InputError that says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.errors import Fault, InputError, raise_all
from orchestrator.k8s_access import CONFLICT, FORBIDDEN, NOT_FOUND, configured_client, http_status, spoken
from orchestrator.k8s_nodes import Room, largest_room, unplaceable
from orchestrator.k8s_references import REMEDY, Reference, references

GROUP, VERSION, PLURAL = "ray.io", "v1", "rayjobs"
SECONDS = (5, 30)  # to connect, to answer


@dataclass(frozen=True, slots=True)
class JobState:
    """What KubeRay says of a RayJob; empty texts where it has not said anything yet."""

    name: str
    job: str
    deployment: str
    message: str
    cluster: str
    started: str
    ended: str
    failed_tries: int


class Kubernetes:
    """One namespace of the cluster that the kubeconfig, or the pod that this runs in, points at."""

    def __init__(self, namespace: str, context: str | None = None) -> None:
        """Read the configuration; nothing is sent yet. Raises InputError without client or configuration."""
        client = configured_client(context)
        self.namespace = namespace
        self._core = client.CoreV1Api()
        self._custom = client.CustomObjectsApi()

    def submit(self, config_map: Mapping[str, Any], ray_job: Mapping[str, Any]) -> list[str]:
        """Create both; returns notes on what could not be checked.

        Raises InputError when the campaign is there already, when no node can hold a worker, or when a claim, an
        account or a secret is absent; nothing is left behind then. The ConfigMap goes with the RayJob.
        """
        notes = [note for note in (self._check_room(ray_job), *self._check_references(ray_job)) if note]
        created = self._create_config_map(config_map)
        try:
            with spoken("the RayJob cannot be created", ray_job["metadata"]["name"]):
                made = self._custom.create_namespaced_custom_object(
                    GROUP, VERSION, self.namespace, PLURAL, dict(ray_job), _request_timeout=SECONDS
                )
        except InputError:
            if created:
                self._delete_config_map(config_map["metadata"]["name"])
            raise
        self._own(config_map["metadata"]["name"], made)
        return notes

    def state(self, name: str) -> JobState:
        """State of a RayJob. Raises InputError when there is none of that name."""
        with spoken("the RayJob cannot be read", name):
            found = self._custom.get_namespaced_custom_object(
                GROUP, VERSION, self.namespace, PLURAL, name, _request_timeout=SECONDS
            )
        status = found.get("status") or {}
        return JobState(
            name,
            status.get("jobStatus", ""),
            status.get("jobDeploymentStatus", ""),
            status.get("message", "") or status.get("reason", ""),
            status.get("rayClusterName", ""),
            status.get("startTime", ""),
            status.get("endTime", ""),
            int(status.get("failed") or 0),
        )

    def log_lines(self, name: str, tail: int, follow: Sequence[str]) -> Iterator[str]:
        """Lines of the newest submitter's log: the last `tail`, then, with ("follow",), those to come.

        Raises InputError while the job has no submitter yet.
        """
        with spoken("the log cannot be read", name):
            selector = f"batch.kubernetes.io/job-name={name}"
            pods = self._core.list_namespaced_pod(
                self.namespace, label_selector=selector, _request_timeout=SECONDS
            ).items
            if not pods:
                todo = "wait until the cluster is up; `adapterfleet k8s status` says how far it is"
                raise InputError(Fault("the job has no submitter pod, so no log yet", name, todo=todo))
            newest = max(pods, key=lambda pod: str(pod.metadata.creation_timestamp))
            answer = self._core.read_namespaced_pod_log(
                newest.metadata.name,
                self.namespace,
                tail_lines=tail,
                follow="follow" in follow,
                _preload_content=False,
                _request_timeout=(SECONDS[0], None if follow else SECONDS[1]),
            )
            yield from _lines(answer)

    def stop(self, name: str) -> None:
        """Delete the RayJob and all that belongs to it; the store keeps every finished step."""
        with spoken("the RayJob cannot be stopped", name):
            self._custom.delete_namespaced_custom_object(
                GROUP,
                VERSION,
                self.namespace,
                PLURAL,
                name,
                propagation_policy="Foreground",
                _request_timeout=SECONDS,
            )

    def _check_room(self, ray_job: Mapping[str, Any]) -> str:
        try:
            with spoken("the nodes cannot be listed", "cluster"):
                nodes = self._core.list_node(_request_timeout=SECONDS).items
        except InputError as refused:
            if http_status(refused) != FORBIDDEN:
                raise
            return "this account may not list nodes: whether the workers fit on one was not checked"
        rooms = [Room.of(node.status.allocatable) for node in nodes]
        raise_all(unplaceable(ray_job, rooms))
        return "" if largest_room(rooms) else "the cluster has no nodes now: whether the workers fit was not checked"

    def _check_references(self, ray_job: Mapping[str, Any]) -> list[str]:
        """Notes on what may not be looked at. Raises InputError that names all that is absent."""
        notes, absent = [], []
        for reference in references(ray_job):
            try:
                self._look(reference)
            except InputError as refused:
                if http_status(refused) == NOT_FOUND:
                    todo = REMEDY[reference.kind]
                    absent.append(
                        Fault(f"the namespace has no such {reference.kind}", self.namespace, reference.name, todo)
                    )
                elif http_status(refused) == FORBIDDEN:
                    notes.append(f"this account may not look whether the {reference.kind} {reference.name} is there")
                else:
                    raise
        raise_all(absent)
        return notes

    def _look(self, reference: Reference) -> None:
        read = {
            "Secret": self._core.read_namespaced_secret,
            "PersistentVolumeClaim": self._core.read_namespaced_persistent_volume_claim,
            "ServiceAccount": self._core.read_namespaced_service_account,
        }[reference.kind]
        with spoken("the object cannot be looked at", reference.name):
            # Its presence is all that matters here: the content, a secret's above all, is not taken in.
            read(reference.name, self.namespace, _preload_content=False, _request_timeout=SECONDS).release_conn()

    def _create_config_map(self, config_map: Mapping[str, Any]) -> bool:
        try:
            with spoken("the ConfigMap cannot be created", config_map["metadata"]["name"]):
                self._core.create_namespaced_config_map(self.namespace, dict(config_map), _request_timeout=SECONDS)
        except InputError as refused:
            if http_status(refused) == CONFLICT:
                return False  # named by its content: the same file, sent before
            raise
        return True

    def _delete_config_map(self, name: str) -> None:
        with spoken("the ConfigMap cannot be removed", name):
            self._core.delete_namespaced_config_map(name, self.namespace, _request_timeout=SECONDS)

    def _own(self, config_map: str, ray_job: Mapping[str, Any]) -> None:
        owner = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "RayJob",
            "name": ray_job["metadata"]["name"],
            "uid": ray_job["metadata"]["uid"],
        }
        with spoken("the ConfigMap cannot be handed to the RayJob", config_map):
            self._core.patch_namespaced_config_map(
                config_map, self.namespace, {"metadata": {"ownerReferences": [owner]}}, _request_timeout=SECONDS
            )


def _lines(answer: Any) -> Iterator[str]:
    rest = b""
    for chunk in answer.stream():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")
