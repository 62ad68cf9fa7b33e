"""What fits on a cluster at once, and which trainings share a bank: rules of the executor and the simulation."""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

from jobs.errors import Fault
from jobs.spec import Spec, TrainingSpec
from orchestrator.campaign.resources import ResourcesSection

SETTLE = 0.7  # seconds without news before banks and searches start, so that those that are ready go together
LONGEST_SETTLE = 3.0  # seconds after which they start however much news there is
# Languages of one Ray Train job, whose start costs seconds; how many of them share a batch is found on its device.
LARGEST_BANK = 64
Node = Mapping[str, float]  # "CPU" and "GPU" of one machine
T = TypeVar("T")


class Debounce:
    """Holds new banks and searches back while news arrives: a step that is ready, a bank that has ended.

    Those that become ready together go together, and a place that a bank leaves waits until it is known what its
    results made ready, which may be more urgent than what waits already.
    """

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self._first = self._last = -math.inf

    def news(self, now: float) -> None:
        """Something happened at `now` (seconds of any clock)."""
        if now >= self.over:
            self._first = now
        self._last = now

    @property
    def over(self) -> float:
        """The moment from which banks and searches may start."""
        return min(self._last + SETTLE, self._first + LONGEST_SETTLE)


def slots(nodes: Sequence[Node], cpus: float, gpus: float) -> int:
    """How many requests of that size the nodes can hold."""
    by_node = ((node.get("CPU", 0.0) // cpus, node.get("GPU", 0.0) // gpus if gpus else float("inf")) for node in nodes)
    return int(sum(max(0.0, min(pair)) for pair in by_node))


def bank_slots(nodes: Sequence[Node], asked: ResourcesSection) -> int:
    """Banks that may run at once: what the campaign says, or what the whole cluster can hold."""
    workers = slots(nodes, asked.cpus_per_bank, asked.gpus_per_bank)
    return asked.banks_at_once or max(1, workers // asked.workers_per_bank)


def worker_slots(nodes: Sequence[Node], asked: ResourcesSection, banks: int) -> int:
    """Warm workers that fit beside `banks` banks that run or wait, each of whose workers is on the emptiest node."""
    scarce = "GPU" if asked.gpus_per_bank else "CPU"
    left = [dict(node) for node in nodes]
    emptiest = [(-node.get(scarce, 0.0), number) for number, node in enumerate(left)]
    heapq.heapify(emptiest)
    for _ in range(banks * asked.workers_per_bank if left else 0):
        host = left[emptiest[0][1]]
        host["CPU"] = host.get("CPU", 0.0) - asked.cpus_per_bank
        host["GPU"] = host.get("GPU", 0.0) - asked.gpus_per_bank
        heapq.heapreplace(emptiest, (-host[scarce], emptiest[0][1]))
    room = slots(left, asked.cpus_per_evaluator, asked.gpus_per_evaluator)
    return min(room, asked.evaluators) if asked.evaluators else room


def infeasible(resources: ResourcesSection, nodes: Sequence[Node]) -> Iterator[Fault]:
    """Requests that no node of the cluster can ever meet."""
    requests = {
        "resources.cpus_per_bank": ("CPU", resources.cpus_per_bank),
        "resources.gpus_per_bank": ("GPU", resources.gpus_per_bank),
        "resources.cpus_per_evaluator": ("CPU", resources.cpus_per_evaluator),
        "resources.gpus_per_evaluator": ("GPU", resources.gpus_per_evaluator),
    }
    for key, (resource, wanted) in requests.items():
        most = max((node.get(resource, 0.0) for node in nodes), default=0.0)
        if wanted > most:
            todo = f"ask for at most {most:g}, or use another cluster"
            yield Fault(f"no node of the cluster has that many {resource}s", key, f"{wanted:g}", todo)


def bank_key(spec: Spec) -> Hashable:
    """Specs with equal keys may share one Ray Train job: same backbone, adapter shape and training settings."""
    if isinstance(spec, TrainingSpec):
        return type(spec).__name__, spec.backbone, spec.adapter, spec.training
    return spec


def split_banks(works: Sequence[T], at_once: int, bank_size: int) -> Iterable[Sequence[T]]:
    """Split into banks of `bank_size`, or (0) so that `at_once` banks share the work; lengths differ by one at most.

    `works`: most urgent first. They come together in the first banks, which are the short ones, as the languages of a
    bank end together. What a language learns does not depend on its bank, so this decides speed alone. With 0, those
    that do not fit the device together wait inside their bank (`jobs.banks.batch_capacity`).
    """
    shared = max(min(max(1, at_once), len(works)), math.ceil(len(works) / LARGEST_BANK))
    count = math.ceil(len(works) / bank_size) if bank_size else shared
    least, longer = divmod(len(works), count)
    ends = list(accumulate([least] * (count - longer) + [least + 1] * longer))
    return [works[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
