"""The cluster's API through the official client: submit, look, follow, stop. Needs the extra `k8s`.

Every fault of access (no client, no cluster, no rights, no KubeRay) is an InputError that says so.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from jobs.errors import Fault, InputError
from orchestrator.clusters.k8s.api_errors import CONFLICT, FORBIDDEN, NOT_FOUND, error_text, http_status, one_line
from orchestrator.clusters.k8s.pods import STOP_SECONDS
from orchestrator.clusters.k8s.preflight import SECONDS, preflight

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


ON_THE_WAY = ("ContainerCreating", "PodInitializing")  # nothing is wrong, it only takes its time
Until = Literal["now", "end"]
MANAGER = "adapterfleet"  # by this name the server knows whose fields are whose
GONE_SECONDS = STOP_SECONDS + 60  # within which a stopped job's pods have ended and Kubernetes has cleaned up


@dataclass(frozen=True, slots=True)
class RayJobState:
    """What the cluster says of a RayJob; empty texts where it has not said anything yet."""

    name: str
    job: str
    deployment: str
    reason: str
    message: str
    cluster: str
    started: str
    ended: str
    stopping: str
    failed_tries: int
    waits: Sequence[str]


class Kubernetes:
    """One namespace of the cluster that the kubeconfig, or the pod that this runs in, points at."""

    def __init__(self, namespace: str, context: str | None = None) -> None:
        """Read the configuration; nothing is sent yet. Raises InputError without client or configuration."""
        client = configured_client(context)
        self.namespace = namespace
        self._core = client.CoreV1Api()
        self._custom = client.CustomObjectsApi()
        where = {"group": "ray.io", "version": "v1", "namespace": namespace, "plural": "rayjobs"}
        self._rayjobs: dict[str, Any] = {**where, "_request_timeout": SECONDS}

    def submit(self, config_map: Mapping[str, Any], ray_job: Mapping[str, Any]) -> list[str]:
        """Create both; returns notes on what could not be checked.

        Raises InputError when the campaign is there already, when no node can hold a worker, or when a claim, an
        account or a secret is absent; nothing is left behind then. The ConfigMap goes with the RayJob.
        """
        name = ray_job["metadata"]["name"]
        notes = preflight(self._core, self.namespace, ray_job)
        # The RayJob first: of two that submit at once only one gets its name, and the other has touched nothing.
        made = self._create(name, ray_job)
        try:
            self._hand_over(config_map, made)
        except InputError as refused:
            self._take_back(name, refused)
            raise
        return notes

    def state(self, name: str) -> RayJobState:
        """State of a RayJob. Raises InputError when there is none of that name."""
        found = self._get(name)
        status = found.get("status") or {}
        return RayJobState(
            name,
            status.get("jobStatus", ""),
            status.get("jobDeploymentStatus", ""),
            status.get("reason", ""),
            one_line(status.get("message", "")),
            status.get("rayClusterName", ""),
            status.get("startTime", ""),
            status.get("endTime", ""),
            found["metadata"].get("deletionTimestamp", ""),
            int(status.get("failed") or 0),
            waits(status, self._pods_of(status.get("rayClusterName", ""))),
        )

    def log_lines(self, name: str, tail: int, until: Until) -> Iterator[str]:
        """Lines of the newest submitter's log: the last `tail`, and up to its "end" those to come.

        Raises InputError while the job has no submitter yet.
        """
        with error_text("the log cannot be read", name):
            pods = self._pods(f"batch.kubernetes.io/job-name={name}")
            if not pods:
                self._get(name)  # a job that is not there has no log either, and that is another fault
                todo = "wait until the cluster is up; `adapterfleet k8s status` says how far it is"
                raise InputError(Fault("the job has no submitter pod, so no log yet", name, todo=todo))
            newest = max(pods, key=lambda pod: str(pod.metadata.creation_timestamp))
            answer = self._core.read_namespaced_pod_log(
                newest.metadata.name,
                self.namespace,
                tail_lines=tail,
                follow=until == "end",
                _preload_content=False,
                _request_timeout=SECONDS if until == "now" else (SECONDS[0], None),
            )
            yield from _lines(answer)

    def stop(self, name: str) -> None:
        """Delete the RayJob with all that belongs to it, and wait until it is gone; the store keeps finished steps.

        Raises InputError when there is none of that name, or when it is still there after GONE_SECONDS.
        """
        with error_text("the RayJob cannot be stopped", name):
            self._custom.delete_namespaced_custom_object(**self._rayjobs, name=name, propagation_policy="Foreground")
        last = time.monotonic() + GONE_SECONDS
        # One without the mark of deletion is a new one of its name.
        while (found := self._find(name)) and _is_stopping(found):
            if time.monotonic() > last:
                todo = "see whether the KubeRay operator runs; `adapterfleet k8s status` tells when it is gone"
                raise InputError(Fault(f"the RayJob has not gone within {GONE_SECONDS} s", name, todo=todo))
            time.sleep(1)

    def _find(self, name: str) -> dict[str, Any] | None:
        try:
            return self._get(name)
        except InputError as refused:
            if http_status(refused) != NOT_FOUND:
                raise
            return None

    def _pods_of(self, cluster: str) -> list[Any]:
        """Pods of a RayCluster; none where this account may not see them, since the rest of a status is worth more."""
        if not cluster:
            return []
        try:
            with error_text("the pods cannot be listed", cluster):
                return self._pods(f"ray.io/cluster={cluster}")
        except InputError as refused:
            if http_status(refused) != FORBIDDEN:
                raise
            return []

    def _pods(self, selector: str) -> list[Any]:
        found = self._core.list_namespaced_pod(self.namespace, label_selector=selector, _request_timeout=SECONDS)
        return list(found.items)

    def _get(self, name: str) -> dict[str, Any]:
        with error_text("the RayJob cannot be read", name):
            found: dict[str, Any] = self._custom.get_namespaced_custom_object(**self._rayjobs, name=name)
        return found

    def _create(self, name: str, ray_job: Mapping[str, Any]) -> dict[str, Any]:
        """Strictly: an older KubeRay would drop the fields that it does not know, the token among them."""
        try:
            with error_text("the RayJob cannot be created", name):
                made: dict[str, Any] = self._custom.create_namespaced_custom_object(
                    **self._rayjobs, body=dict(ray_job), field_manager=MANAGER, field_validation="Strict"
                )
        except InputError as refused:
            if http_status(refused) != CONFLICT or not (found := self._find(name)):
                raise  # a conflict may be about something else: a quota that others change at the same time
            raise InputError(_taken(name, found)) from refused
        return made

    def _hand_over(self, config_map: Mapping[str, Any], ray_job: Mapping[str, Any]) -> None:
        """Make the ConfigMap the RayJob's own, in one call whether or not an earlier RayJob left it there."""
        name = config_map["metadata"]["name"]
        owner = {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "name": ray_job["metadata"]["name"],
            "uid": ray_job["metadata"]["uid"],
        }
        owned = {**config_map, "metadata": {**config_map["metadata"], "ownerReferences": [owner]}}
        with error_text("the ConfigMap cannot be written", name):
            self._core.patch_namespaced_config_map(
                name,
                self.namespace,
                owned,
                field_manager=MANAGER,
                force=True,
                _content_type="application/apply-patch+yaml",
                _request_timeout=SECONDS,
            )

    def _take_back(self, name: str, refused: InputError) -> None:
        """Delete the RayJob that has no campaign file; where that fails too, both faults are told."""
        try:
            with error_text("the RayJob, which has no campaign file, cannot be removed", name):
                self._custom.delete_namespaced_custom_object(**self._rayjobs, name=name)
        except InputError as left:
            raise InputError(*refused.faults, *left.faults) from left


def _is_stopping(ray_job: Mapping[str, Any]) -> bool:
    return "deletionTimestamp" in ray_job["metadata"]


def _taken(name: str, ray_job: Mapping[str, Any]) -> Fault:
    if _is_stopping(ray_job):
        todo = "wait until `adapterfleet k8s status` finds it no more, and submit again"
        return Fault("the campaign is still being stopped", name, todo=todo)
    return Fault("the campaign is there already", name, todo="see `adapterfleet k8s status`, or `stop` it first")


def _lines(answer: Any) -> Iterator[str]:
    rest = b""
    for chunk in answer.stream():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")


def waits(status: Mapping[str, Any], pods: Sequence[Any]) -> list[str]:
    """One line for each reason: those for which the operator could not make a pod, then those for which pods wait.

    `status` is a RayJob's; `pods` are the client's V1Pod.
    """
    conditions = (status.get("rayClusterStatus") or {}).get("conditions") or ()
    failures = [one_line(str(one.get("message"))) for one in conditions if _is_failure(one)]
    counted = Counter(reason for pod in pods for reason in _reasons(pod))
    return failures + [f"{count} {'pod' if count == 1 else 'pods'}: {reason}" for reason, count in counted.items()]


def _is_failure(condition: Mapping[str, Any]) -> bool:
    return condition.get("type") == "ReplicaFailure" and condition.get("status") == "True"


def _reasons(pod: Any) -> Iterator[str]:
    state = pod.status
    for condition in state.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            yield one_line(f"{condition.reason}: {condition.message}")
    for container in (*(state.init_container_statuses or ()), *(state.container_statuses or ())):
        waiting = container.state.waiting if container.state else None
        if waiting and waiting.reason not in ON_THE_WAY:
            yield one_line(f"{container.name}: {waiting.reason}: {waiting.message or ''}".rstrip(": "))
