"""A campaign on a cluster that nobody has yet: when each step would run, on paper. No torch, no Ray, no disk.

The rules are those of the executor on Ray (`orchestrator.scheduling.capacity`): what is simulated is in
`orchestrator.scheduling.simulation`. How long a step takes comes from `orchestrator.scheduling.cost`; what Ray and the
driver add is `Overheads`.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobs.errors import Fault, InputError, raise_all
from jobs.spec import SearchSpec, TrainingSpec
from orchestrator.campaign.resources import ResourcesSection
from orchestrator.scheduling.capacity import infeasible, worker_slots
from orchestrator.scheduling.cluster_model import Cluster
from orchestrator.scheduling.cost import CostModel, by_upward_rank, trials
from orchestrator.scheduling.simulation import START_UP, Engine, Overheads, Span
from orchestrator.store.step import Step


@dataclass(frozen=True, slots=True)
class PathStep:
    """A step on the critical path. `alone`: its seconds with the cluster to itself; `ready`: when its inputs were."""

    step: Step
    alone: float
    ready: float
    end: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """What would happen. `ends`: step key -> second at which it is recorded."""

    cluster: Cluster
    spans: tuple[Span, ...]
    ends: Mapping[str, float]
    makespan: float
    critical: tuple[PathStep, ...]

    @property
    def counts_gpus(self) -> bool:
        """Whether anything runs on GPUs; else CPUs are what is scarce."""
        return any(span.gpus for span in self.spans)

    def busy_hours(self, job: str = "") -> float:
        """GPU-hours (CPU-hours when nothing runs on GPUs) of work, of one job or of all; starting up is no work."""
        spans = (s for s in self.spans if (s.job == job if job else s.job != START_UP))
        gpus = self.counts_gpus
        return math.fsum((s.end - s.start) * (s.gpus if gpus else s.cpus) for s in spans) / 3600

    @property
    def cluster_hours(self) -> float:
        """GPU-hours (CPU-hours) of the whole cluster until the end: what is paid for."""
        return (
            self.makespan * self.cluster.nodes * (self.cluster.gpus if self.counts_gpus else self.cluster.cpus) / 3600
        )

    @property
    def utilisation(self) -> float:
        """Share of the cluster's hours in which work was done."""
        return self.busy_hours() / self.cluster_hours if self.cluster_hours else 0.0

    @property
    def shortest(self) -> float:
        """Seconds of the critical path: no cluster is faster."""
        return math.fsum(one.alone for one in self.critical)

    def jobs(self) -> Mapping[str, int]:
        """Steps per job."""
        return Counter(key.split("/", 1)[0] for key in self.ends)


def simulate(
    steps: Sequence[Step],
    costs: CostModel,
    resources: ResourcesSection,
    cluster: Cluster,
    overheads: Overheads | None = None,
) -> Schedule:
    """Run `steps` (those still to do, inputs first) on `cluster`. Inputs that are not among them count as finished.

    As `run` does it, the most urgent ones go first (`orchestrator.scheduling.cost`).
    Raises InputError for steps of unknown cost, all jobs at once, and for requests that no node can meet.
    """
    raise_all(infeasible(resources, cluster.rooms()))
    seconds = _seconds(steps, costs)
    steps = by_upward_rank(steps, costs)
    extra = overheads or Overheads()
    engine = Engine(steps, seconds, resources, cluster, extra)
    engine.run()
    alone = {step.key: _alone(step, seconds[step.key], resources, cluster, extra) for step in steps}
    path = _critical_path(steps, alone, engine.ends)
    return Schedule(cluster, tuple(engine.spans), engine.ends, max(engine.ends.values(), default=0.0), path)


def _seconds(steps: Sequence[Step], costs: CostModel) -> dict[str, float]:
    seconds, unknown = {}, Counter[str]()
    for step in steps:
        cost = costs.seconds(step)
        if cost is None:
            unknown[step.job] += 1
        else:
            seconds[step.key] = cost
    if unknown:
        todo = "run one such step in this workspace first, or state it: --assume job=seconds"
        named = ", ".join(f"{job} ({count} steps)" for job, count in unknown.items())
        raise InputError(Fault("nobody knows how long these steps take", "--cluster", named, todo))
    return seconds


def _alone(step: Step, seconds: float, resources: ResourcesSection, cluster: Cluster, extra: Overheads) -> float:
    """Seconds from ready inputs to the record when nothing else wants the cluster: never more than in a schedule."""
    if isinstance(step.spec, TrainingSpec):
        return extra.bank + seconds + extra.step
    if isinstance(step.spec, SearchSpec):
        count = trials(step.spec)
        workers = min(count, max(1, worker_slots(cluster.rooms(), resources, 0)))
        return extra.search + seconds / count * math.ceil(count / workers) + extra.step
    return seconds + extra.step


def _critical_path(
    steps: Sequence[Step], alone: Mapping[str, float], ends: Mapping[str, float]
) -> tuple[PathStep, ...]:
    """The chain of inputs that takes longest with the cluster to itself, first step first."""
    until: dict[str, float] = defaultdict(float)
    before: dict[str, Step] = {}
    for step in steps:
        sources = [source for _, source in step.inputs if source.key in alone]
        latest = max(sources, key=lambda source: until[source.key], default=None)
        if latest is not None:
            before[step.key] = latest
        until[step.key] = alone[step.key] + (until[latest.key] if latest else 0.0)
    last = max(steps, key=lambda step: until[step.key], default=None)
    path: list[PathStep] = []
    while last is not None:
        ready = max((ends[source.key] for _, source in last.inputs if source.key in ends), default=0.0)
        path.append(PathStep(last, alone[last.key], ready, ends[last.key]))
        last = before.get(last.key)
    return tuple(reversed(path))
