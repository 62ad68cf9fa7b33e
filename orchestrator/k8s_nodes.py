"""Whether a pod of each worker group fits on some node: what never fits would wait for ever."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.errors import Fault

DECIMAL = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60}
SUFFIXES = DECIMAL | BINARY


@dataclass(frozen=True, slots=True)
class Room:
    """What a node offers, or a pod asks for: CPUs, bytes, GPUs."""

    cpus: float
    memory: float
    gpus: float

    @classmethod
    def of(cls, quantities: Mapping[str, str]) -> Room:
        """From Kubernetes' quantities, such as a node's `allocatable` or a container's `limits`."""
        return cls(
            quantity(quantities.get("cpu", "0")),
            quantity(quantities.get("memory", "0")),
            quantity(quantities.get("nvidia.com/gpu", "0")),
        )

    def holds(self, other: Room) -> bool:
        """Whether `other` fits into an empty node of this size."""
        return self.cpus >= other.cpus and self.memory >= other.memory and self.gpus >= other.gpus

    def __str__(self) -> str:
        return f"{self.cpus:g} CPUs, {self.memory / 2**30:.3g} GiB, {self.gpus:g} GPUs"


def quantity(text: str) -> float:
    """The number that a Kubernetes quantity stands for: `500m` is 0.5, `2Gi` is 2147483648."""
    for length in (2, 1):
        if text[-length:] in SUFFIXES:
            return float(text[:-length]) * SUFFIXES[text[-length:]]
    return float(text)


def largest_room(rooms: Sequence[Room]) -> Room | None:
    """The node with most GPUs, then memory, then CPUs; None without nodes."""
    return max(rooms, key=lambda room: (room.gpus, room.memory, room.cpus), default=None)


def unplaceable(ray_job: Mapping[str, Any], rooms: Sequence[Room]) -> Iterator[Fault]:
    """A fault for each worker group of which no node holds a pod, even an empty node."""
    largest = largest_room(rooms)
    if largest is None:
        return
    for group in ray_job["spec"]["rayClusterSpec"]["workerGroupSpecs"]:
        wanted = Room.of(group["template"]["spec"]["containers"][0]["resources"]["limits"])
        if not any(room.holds(wanted) for room in rooms):
            todo = "lower the campaign's `resources` or the memory options, or add larger nodes"
            got = f"a pod asks for {wanted}; the largest node offers {largest}"
            yield Fault("the worker group can never be scheduled", f"worker group {group['groupName']}", got, todo)
