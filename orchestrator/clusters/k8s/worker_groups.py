"""From a campaign's resources to worker groups: how many pods, and how large each. Arithmetic, no manifests."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from jobs.errors import Fault, raise_all
from jobs.spec import is_language_model
from orchestrator.campaign.schema import Campaign
from orchestrator.clusters.k8s.options import NodeSection, RenderOptions

USUAL_BANK = 8  # languages that one bank is taken to train where the campaign leaves the size open


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """A worker group: `replicas` pods of `cpus` CPUs, `memory_gib` GiB and `gpus` GPUs, `places` requests in each."""

    name: str
    replicas: int
    places: int
    cpus: int
    memory_gib: int
    gpus: int


@dataclass(frozen=True, slots=True)
class _Request:
    """One request of Ray's, as the campaign states it; `key` is where."""

    key: str
    count: int
    cpus: float
    gpus: float
    memory_gib: int
    together: int


def worker_groups(campaign: Campaign, options: RenderOptions) -> tuple[WorkerGroup, WorkerGroup]:
    """The groups `banks` and `evaluators`. Raises InputError for one that no node can hold."""
    asked = campaign.resources
    banks = asked.banks_at_once or min(options.banks, _most_banks(campaign))
    evaluators = asked.evaluators or options.evaluators
    requests = {
        "banks": _Request(
            "resources.gpus_per_bank",
            banks,
            asked.cpus_per_bank,
            asked.gpus_per_bank,
            options.memory_per_bank_gib,
            1,
        ),
        "evaluators": _Request(
            "resources.gpus_per_evaluator",
            evaluators,
            asked.cpus_per_evaluator,
            asked.gpus_per_evaluator,
            options.memory_per_evaluator_gib,
            options.evaluators_per_pod,
        ),
    }
    raise_all(fault for request in requests.values() for fault in _unsound(request))
    groups = tuple(_group(name, request) for name, request in requests.items())
    if options.largest_node is not None:
        node = options.largest_node
        raise_all(fault for group in groups for fault in too_large(group, node))
    return groups[0], groups[1]


def too_large(group: WorkerGroup, node: NodeSection) -> Iterator[Fault]:
    """Faults of a group of which not one pod fits on `node`."""
    wanted = {"CPUs": group.cpus, "GiB of memory": group.memory_gib, "GPUs": group.gpus}
    offered = {"CPUs": node.cpus, "GiB of memory": node.memory_gib, "GPUs": node.gpus}
    for unit, count in wanted.items():
        if count > offered[unit]:
            yield Fault(
                "the worker group can never be scheduled",
                f"worker group {group.name}",
                f"{count} {unit} a pod, the largest node has {offered[unit]}",
                "lower the campaign's `resources` or the memory options, or use larger nodes",
            )


def _most_banks(campaign: Campaign) -> int:
    """Banks that can be busy at once: more pods would only wait."""
    size = campaign.resources.bank_size or USUAL_BANK
    languages = len(campaign.languages.pool) + campaign.languages.best_covered
    tasks = sum(not is_language_model(task.kind) for task in campaign.tasks)
    seeds = len(campaign.seeds)
    return max(1, math.ceil(languages / size) * seeds, tasks * seeds)


def _unsound(request: _Request) -> Iterator[Fault]:
    if request.gpus > 1 and not request.gpus.is_integer():
        yield Fault("more than one GPU comes in whole numbers", request.key, f"{request.gpus:g}", "e.g. 0.5, 1 or 2")


def _group(name: str, request: _Request) -> WorkerGroup:
    """Shares of one GPU sit together in a pod, since a pod gets whole GPUs only."""
    if 0 < request.gpus < 1:
        places = math.floor(1 / request.gpus + 1e-9)
        gpus = 1
    elif request.gpus:
        places, gpus = 1, int(request.gpus)
    else:
        places, gpus = min(request.together, request.count), 0
    return WorkerGroup(
        name,
        math.ceil(request.count / places),
        places,
        math.ceil(request.cpus * places - 1e-9),
        request.memory_gib * places,
        gpus,
    )
