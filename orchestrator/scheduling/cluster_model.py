"""The machines of a simulated cluster: what `--cluster` says, and who sits where."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from jobs.errors import Fault, raise_all

CPUS_PER_GPU = 12  # of a node whose CPUs nobody states; without GPUs, of the node
_KEYS = ("nodes", "gpus", "cpus")


@dataclass(frozen=True, slots=True)
class Cluster:
    """`nodes` equal machines with `gpus` GPUs and `cpus` CPU cores each."""

    nodes: int
    gpus: int
    cpus: int

    def rooms(self) -> list[dict[str, float]]:
        """Each node as the executor on Ray sees it."""
        return [{"CPU": float(self.cpus), "GPU": float(self.gpus)}] * self.nodes

    def __str__(self) -> str:
        each = f"{self.gpus} GPUs and {self.cpus} CPUs" if self.gpus else f"{self.cpus} CPUs"
        return f"{self.nodes} nodes of {each}" if self.nodes > 1 else f"one node of {each}"


def parse_cluster(text: str) -> Cluster:
    """`nodes=64,gpus=8,cpus=96` in any order; `cpus` is 12 per GPU when it is left out.

    Raises InputError with every fault: an unknown or repeated key, a count that is none, a cluster of nothing.
    """
    values: dict[str, int] = {}
    faults = []
    for part in text.split(","):
        key, equals, number = (piece.strip() for piece in part.partition("="))
        if key not in _KEYS or not equals or key in values:
            faults.append(Fault("not a size of the cluster", "--cluster", part, "e.g. nodes=64,gpus=8,cpus=96"))
        elif not number.isascii() or not number.isdigit() or len(number) > 6:
            faults.append(Fault(f"{key} is a whole number", "--cluster", number))
        else:
            values[key] = int(number)
    raise_all(faults)
    nodes, gpus = values.get("nodes", 1), values.get("gpus", 0)
    cpus = values.get("cpus", CPUS_PER_GPU * max(1, gpus))
    if not nodes or not cpus:
        raise_all([Fault("a cluster has at least one node and each node a CPU", "--cluster", text)])
    return Cluster(nodes, gpus, cpus)


@dataclass(slots=True)
class Slot:
    """A place that a process holds: CPUs and GPUs of a node, drawn as one lane of it."""

    node: int
    lane: int
    cpus: float
    gpus: float


@dataclass(slots=True)
class Machines:
    """Free CPUs and GPUs of every node; the emptiest node is taken first."""

    cluster: Cluster
    lanes: list[int] = field(default_factory=list)  # most processes at once, per node
    _cpus: list[float] = field(default_factory=list)
    _gpus: list[float] = field(default_factory=list)
    _freed: list[list[int]] = field(default_factory=list)
    _full: set[tuple[float, float]] = field(default_factory=set)  # sizes that found no node since the last leave

    def __post_init__(self) -> None:
        count = self.cluster.nodes
        self._cpus, self._gpus = [float(self.cluster.cpus)] * count, [float(self.cluster.gpus)] * count
        self.lanes, self._freed = [0] * count, [[] for _ in range(count)]

    def take(self, cpus: float, gpus: float) -> Slot | None:
        """A seat of that size, or None when no node has room now."""
        if (cpus, gpus) in self._full:
            return None
        fitting = (n for n in range(self.cluster.nodes) if self._holds(n, cpus, gpus))
        node = max(fitting, key=lambda n: (self._gpus[n] if gpus else self._cpus[n], -n), default=None)
        if node is None:
            self._full.add((cpus, gpus))
            return None
        self._cpus[node] -= cpus
        self._gpus[node] -= gpus
        if self._freed[node]:
            return Slot(node, heapq.heappop(self._freed[node]), cpus, gpus)
        self.lanes[node] += 1
        return Slot(node, self.lanes[node] - 1, cpus, gpus)

    def release(self, seat: Slot) -> None:
        """The process has ended."""
        self._full.clear()
        self._cpus[seat.node] += seat.cpus
        self._gpus[seat.node] += seat.gpus
        heapq.heappush(self._freed[seat.node], seat.lane)

    def rows(self) -> Iterator[tuple[int, int]]:
        """(node, lane) of every lane that was ever used."""
        return ((node, lane) for node, count in enumerate(self.lanes) for lane in range(count))

    def _holds(self, node: int, cpus: float, gpus: float) -> bool:
        slack = 1e-9  # shares of a GPU, such as a tenth, do not add up exactly
        return self._cpus[node] + slack >= cpus and self._gpus[node] + slack >= gpus
