"""Why a campaign's pods do not run yet: from what the operator and the pods say of themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.clusters.k8s.api_errors import one_line

ON_THE_WAY = ("ContainerCreating", "PodInitializing")  # nothing is wrong, it only takes its time


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
