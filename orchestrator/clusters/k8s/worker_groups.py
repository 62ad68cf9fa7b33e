"""From a campaign's resources to worker groups: how many pods, and how large each. Arithmetic, no manifests."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jobs.errors import Fault, raise_all
from jobs.spec import is_language_model
from orchestrator.campaign.resources import ResourcesSection
from orchestrator.campaign.schema import Campaign
from orchestrator.clusters.k8s.options import NodeSection, RenderOptions

MOST = 100_000  # workers of a kind
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


def worker_groups(campaign: Campaign, options: RenderOptions) -> tuple[WorkerGroup, WorkerGroup]:
    """The groups `banks` and `evaluators`. Raises InputError for one that no node can hold."""
    asked = campaign.resources
    banks = asked.banks_at_once or min(options.banks, _most_banks(campaign))
    evaluators = asked.evaluators or options.evaluators
    raise_all(_unsound(asked, {"banks_at_once": banks, "evaluators": evaluators}))
    bank = (asked.cpus_per_bank, asked.gpus_per_bank, options.memory_per_bank_gib)
    evaluator = (asked.cpus_per_evaluator, asked.gpus_per_evaluator, options.memory_per_evaluator_gib)
    groups = (
        _group("banks", banks, *bank, together=1),
        _group("evaluators", evaluators, *evaluator, together=options.evaluators_per_pod),
    )
    if options.largest_node is not None:
        node = options.largest_node
        raise_all(fault for group in groups for fault in too_large(group, node))
    return groups


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


def _unsound(asked: ResourcesSection, counts: Mapping[str, int]) -> Iterator[Fault]:
    for key, count in counts.items():
        if count > MOST:
            yield Fault("more workers than a cluster can have", f"resources.{key}", f"{count:,}", f"at most {MOST:,}")
    for key in ("gpus_per_bank", "gpus_per_evaluator"):
        gpus: float = getattr(asked, key)
        if gpus > 1 and not gpus.is_integer():
            what = "more than one GPU comes in whole numbers"
            yield Fault(what, f"resources.{key}", f"{gpus:g}", "e.g. 0.5, 1 or 2")


def _group(name: str, count: int, cpus: float, gpus: float, memory_gib: int, together: int) -> WorkerGroup:
    """For `count` requests of that size, without GPUs `together` in a pod.

    Shares of one GPU sit together in a pod, since a pod gets whole GPUs only.
    """
    if 0 < gpus < 1:
        places, whole = math.floor(1 / gpus + 1e-9), 1
    elif gpus:
        places, whole = 1, int(gpus)
    else:
        places, whole = min(together, count), 0
    pods = math.ceil(count / places)
    return WorkerGroup(name, pods, places, math.ceil(cpus * places - 1e-9), memory_gib * places, whole)
