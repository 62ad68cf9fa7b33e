"""What can be asked of a cluster before a campaign is submitted: whether its pods fit, and find what they refer to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jobs.errors import Fault, InputError, raise_all
from orchestrator.k8s_nodes import Room, largest_room, unplaceable
from orchestrator.k8s_references import REMEDY, Reference, references
from orchestrator.k8s_refusals import FORBIDDEN, NOT_FOUND, http_status, spoken

SECONDS = (5, 30)  # to connect, to answer


def preflight(core: Any, namespace: str, ray_job: Mapping[str, Any]) -> list[str]:
    """Notes on what this account may not look at; `core` is the client's CoreV1Api.

    Raises InputError when no node can hold a worker, or with all claims, accounts and secrets that are absent.
    """
    return [*_room(core, ray_job), *_references(core, namespace, ray_job)]


def _room(core: Any, ray_job: Mapping[str, Any]) -> Iterator[str]:
    try:
        with spoken("the nodes cannot be listed", "cluster"):
            nodes = core.list_node(_request_timeout=SECONDS).items
    except InputError as refused:
        if http_status(refused) != FORBIDDEN:
            raise
        yield "this account may not list nodes: whether the workers fit on one was not checked"
        return
    # A node that has only just joined has not said yet what it offers.
    rooms = [Room.of(node.status.allocatable) for node in nodes if node.status and node.status.allocatable]
    raise_all(unplaceable(ray_job, rooms))
    if largest_room(rooms) is None:
        yield "the cluster has no nodes now: whether the workers fit was not checked"


def _references(core: Any, namespace: str, ray_job: Mapping[str, Any]) -> list[str]:
    notes, absent = [], []
    for reference in references(ray_job):
        try:
            _look(core, namespace, reference)
        except InputError as refused:
            if http_status(refused) == NOT_FOUND:
                what, todo = f"the namespace has no such {reference.kind}", REMEDY[reference.kind]
                absent.append(Fault(what, namespace, reference.name, todo))
            elif http_status(refused) == FORBIDDEN:
                notes.append(f"this account may not look whether the {reference.kind} {reference.name} is there")
            else:
                raise
    raise_all(absent)
    return notes


def _look(core: Any, namespace: str, reference: Reference) -> None:
    read = {
        "Secret": core.read_namespaced_secret,
        "PersistentVolumeClaim": core.read_namespaced_persistent_volume_claim,
        "ServiceAccount": core.read_namespaced_service_account,
    }[reference.kind]
    with spoken("the object cannot be looked at", reference.name):
        # Its presence is all that matters here: the content, a secret's above all, is not taken in.
        read(reference.name, namespace, _preload_content=False, _request_timeout=SECONDS).drain_conn()
