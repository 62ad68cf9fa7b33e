"""What a step will cost in seconds, and which goes first by it: the one that the longest chain of others waits for.

Costs are from like steps of this workspace, from what the user says, else from constants.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from jobs.spec import SearchSpace, SearchSpec, TaskAdapterSpec, TrainingConfig, TrainingSpec
from jobs.spec.identity import canonical_json
from orchestrator.store.record import Record
from orchestrator.store.step import Step
from search_spaces.mixtures.spaces import size

# Measured with the embedded backbone on one CPU core; other backbones have an estimate once one step has run.
TOKENS_PER_SECOND = {"language-adapter": 20_000.0, "task-adapter": 15_000.0}
SECONDS = {"initial-adapter": 2.0, "merge": 0.1, "evaluation": 0.3}
SECONDS_PER_TRIAL = 0.25
UNKNOWN = 1.0  # seconds of a step of which nobody knows how long it takes
LEAST = 1e-3  # seconds of any step, so that an input always comes before what needs it
EMBEDDED = "cldr-mini"
_DEFAULTS = TrainingConfig(optimizer_steps=1, batch_size=1)


@dataclass(frozen=True, slots=True)
class CostModel:
    """`seen`: mean seconds per unit of work of each (job, backbone). `assumed`: job -> seconds a step, or a trial.

    A unit is a token of training, a candidate scored for one seed, or the whole step of any other job. `rows`: how many
    rows trainings had of their data (`_data_key`), from which the length of epochs follows.
    """

    seen: Mapping[tuple[str, str], float]
    assumed: Mapping[str, float] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)

    def seconds(self, step: Step) -> float | None:
        """Estimated seconds of one step alone on one core or GPU; None where nothing is known."""
        backbone = step.spec.backbone
        if step.job in self.assumed:
            return self.assumed[step.job] * (_search_units(step.spec) if isinstance(step.spec, SearchSpec) else 1.0)
        units = self._units(step)
        if units is None:
            return None
        known = self.seen.get((step.job, backbone.revision))
        if known is not None:
            return known * units
        return _guess(step, units) if backbone.name == EMBEDDED else None

    def source(self, step: Step) -> str:
        """Where the estimate of such a step comes from."""
        if step.job in self.assumed:
            return "as assumed"
        if (step.job, step.spec.backbone.revision) in self.seen:
            return "measured in this workspace"
        return "constants of the embedded backbone on one CPU core"

    def _units(self, step: Step) -> float | None:
        """The work of a step; None for epochs over data whose rows nobody has counted."""
        spec = step.spec
        if isinstance(spec, TrainingSpec):
            training = spec.training
            if training.epochs:
                rows = self.rows.get(_data_key(json.loads(canonical_json(spec)))) or _most_rows(spec)
                if rows is None:
                    return None
                training = training.over(rows)
            return _tokens({name: getattr(training, name) for name in TrainingConfig.__dataclass_fields__})
        return _search_units(spec) if isinstance(spec, SearchSpec) else 1.0


def cost_model(records: Iterable[Record], assumed: Mapping[str, float] | None = None) -> CostModel:
    """From the records of a workspace.

    Members of a bank tell their part of its time. Those of earlier versions did not: they share their host and their
    start, and are taken to have trained all at once, as long as the one that took longest. A search counts what its
    trials took on their evaluators, however many there were; one that the cache of scores answered tells nothing.
    """
    runs: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    rows: dict[str, int] = {}
    for record in (record for record in records if _recorded_units(record)):
        if counted := record.details.get("train_rows"):
            rows[_data_key(record.spec)] = int(counted)
        start = f"{record.provenance.get('host')} {record.provenance['started']}" if _shares(record) else record.key
        runs[record.job, record.spec["backbone"]["revision"], start].append(record)
    seconds: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for (job, backbone, _), together in runs.items():
        taken = max(_recorded_seconds(record) for record in together)
        seconds[job, backbone].append((taken, sum(map(_recorded_units, together))))
    means = {key: sum(s for s, _ in runs) / sum(u for _, u in runs) for key, runs in seconds.items()}
    return CostModel(means, assumed or {}, rows)


def trials(spec: SearchSpec) -> int:
    """What a search scores: its budget, or at most its space; a candidate once for each objective."""
    return (spec.strategy.evaluations or _candidates(spec.space)) * len(spec.objectives)


@lru_cache(maxsize=10_000)
def _candidates(space: SearchSpace) -> int:
    return size(space) or 0


def _shares(record: Record) -> bool:
    return record.job == "language-adapter" and "started" in record.provenance and "share_seconds" not in record.metrics


def _recorded_seconds(record: Record) -> float:
    """Training counts the seconds that the job itself measured, a search those of its trials."""
    if record.job == "search":
        return float(record.details["cost"]["seconds"])
    whole = record.metrics.get("seconds", record.provenance.get("seconds", 0.0))
    return float(record.metrics.get("share_seconds", whole))


def _recorded_units(record: Record) -> float:
    if "training" in record.spec:
        asked = record.spec["training"]["optimizer_steps"] or record.details["optimizer_steps_asked"]
        return _tokens({**record.spec["training"], "optimizer_steps": asked})
    if record.job == "search":
        computed = float(record.details.get("cost", {}).get("computed", 0.0))
        return computed * len(record.objectives) * len(record.spec["seeds"])
    return 1.0


def _search_units(spec: SearchSpec) -> float:
    return float(trials(spec) * len(spec.seeds))


def _data_key(spec: Mapping[str, Any]) -> str:
    """What the number of training rows follows from, of a spec as plain JSON."""
    names = ("corpus", "data", "more_data", "task", "objective", "backbone")
    lengths = {name: spec["training"].get(name) for name in ("max_length", "max_tokens")}
    return canonical_json({**{name: spec[name] for name in names if name in spec}, **lengths})


def _most_rows(spec: TrainingSpec) -> int | None:
    """The limits of a task's training data, where all of it has one: a question of many windows counts once."""
    if not isinstance(spec, TaskAdapterSpec):
        return None
    limits = [dict(one.limits).get("train") for one in (spec.data, *spec.more_data)]
    known = [limit for limit in limits if limit is not None]
    return sum(known) if len(known) == len(limits) else None


def _guess(step: Step, units: float) -> float:
    if step.job in TOKENS_PER_SECOND:
        return units / TOKENS_PER_SECOND[step.job]
    if isinstance(step.spec, SearchSpec):
        return SECONDS_PER_TRIAL * units
    return SECONDS[step.job]


def _tokens(training: Mapping[str, Any]) -> float:
    """Tokens of a whole training at most; a field at its default is left out of a record."""
    names = ("optimizer_steps", "batch_size", "gradient_accumulation", "max_length")
    steps, rows, accumulated, length = (training.get(name, getattr(_DEFAULTS, name)) for name in names)
    return float(steps * rows * accumulated * length)


def by_upward_rank(steps: Sequence[Step], costs: CostModel) -> list[Step]:
    """The steps by the seconds of the longest chain that begins with each, longest first; inputs stay in front.

    `steps`: inputs before those that need them. List scheduling by the longest path to an exit (Graham 1969; "upward
    rank" of HEFT, Topcuoglu et al. 2002): what is on the critical path never waits behind what is not.
    """
    chain: dict[str, float] = {}
    for step in reversed(steps):
        own = costs.seconds(step)
        chain[step.key] = chain.get(step.key, 0.0) + max(LEAST, UNKNOWN if own is None else own)
        for _, source in step.inputs:
            chain[source.key] = max(chain.get(source.key, 0.0), chain[step.key])
    return sorted(steps, key=lambda step: -chain[step.key])
