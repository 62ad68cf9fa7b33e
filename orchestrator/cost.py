"""What a step will cost in seconds: the mean of like steps in this workspace, else measured constants."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from jobs.spec import LanguageAdapterSpec, SearchSpec, TaskAdapterSpec, TrainingConfig
from orchestrator.record import Record
from orchestrator.step import Step
from search_spaces.weights import candidates

# Measured with the embedded backbone on one CPU core; other backbones have an estimate once one step has run.
TOKENS_PER_SECOND = {"language-adapter": 20_000.0, "task-adapter": 15_000.0}
SECONDS = {"initial-adapter": 2.0, "merge": 0.1, "evaluation": 0.3}
SECONDS_PER_TRIAL = 0.25


@dataclass(frozen=True, slots=True)
class CostModel:
    """Mean seconds per (job, backbone) seen so far."""

    seen: dict[tuple[str, str], float]

    def seconds(self, step: Step) -> float | None:
        """Estimated seconds of one step alone on one core; None where nothing is known."""
        backbone = step.spec.backbone
        known = self.seen.get((step.job, backbone.revision))
        if known is not None:
            return known
        return _guess(step) if backbone.name == "cldr-mini" else None


def cost_model(records: Iterable[Record]) -> CostModel:
    """From the records of a workspace. Training counts the seconds that the job itself measured."""
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for record in records:
        own = record.metrics.get("seconds", record.provenance.get("seconds", 0.0))
        seconds[record.job, record.spec["backbone"]["revision"]].append(float(own))
    return CostModel({key: statistics.fmean(values) for key, values in seconds.items()})


def _guess(step: Step) -> float:
    spec = step.spec
    if isinstance(spec, (LanguageAdapterSpec, TaskAdapterSpec)):
        return _tokens(spec.training) / TOKENS_PER_SECOND[step.job]
    if isinstance(spec, SearchSpec):
        return SECONDS_PER_TRIAL * len(spec.seeds) * sum(1 for _ in candidates(spec.space))
    return SECONDS[step.job]


def _tokens(training: TrainingConfig) -> float:
    rows = training.optimizer_steps * training.batch_size * training.gradient_accumulation
    return float(rows * training.max_length)
