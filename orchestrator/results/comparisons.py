"""Records and index -> frozen results: scores, better proxies, gains with intervals, curves, flatness.

Proxies are compared by validation score alone, so that the baseline, like lambda, is chosen without test data.
Scores of `ScoredSystem` are on the test split, those of `LambdaCurve` on the validation split.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

from jobs.errors import Fault, InputError
from jobs.scoring.bootstrap import Interval, paired_bootstrap
from jobs.scoring.metrics import Statistics, metric_over
from orchestrator.plan.index import Comparison, System
from orchestrator.results.inputs import ReportInputs
from orchestrator.results.searches import Flatness, Gain, Search, alone_scores, read_flatness, read_search
from orchestrator.results.significance import resamples_for
from orchestrator.store.record import Record

# Roles of systems that arithmetic is compared with, beside the better proxy.
_COMPARED = ("own", "fixed", "baseline", "judged", "single")


@dataclass(frozen=True, slots=True)
class ScoredSystem:
    """A system's test scores: `scores` holds (seed, score) for the seeds that are done; nan without any."""

    name: str
    label: str
    role: str
    languages: tuple[str, ...]
    scores: tuple[tuple[int, float], ...]
    mean: float
    deviation: float
    validation: float

    @property
    def done(self) -> bool:
        """Whether at least one seed is scored."""
        return bool(self.scores)


@dataclass(frozen=True, slots=True)
class Result:
    """One comparison's results; fields are None or empty where steps are still missing.

    `pairs`: the best candidate of each pair with its gain over the own adapter.
    """

    comparison: Comparison
    target_name: str
    systems: tuple[ScoredSystem, ...]
    search: Search | None
    better_proxy: str
    gains: tuple[Gain, ...]
    flatness: Flatness | None
    pairs: tuple[tuple[System, Gain], ...] = ()

    def system(self, role: str) -> ScoredSystem | None:
        """The first system of a role."""
        return next((system for system in self.systems if system.role == role), None)

    def gain(self, role: str) -> Gain | None:
        """Gain over the better proxy ("proxy"), the own adapter ("own"), lambda 0.5 ("fixed"), the first "baseline",
        what another judge chose ("judged"), the best with one lambda for all parts ("single").
        """
        return next((gain for gain in self.gains if gain.role == role), None)

    @property
    def best(self) -> frozenset[str]:
        """Names of the systems with the best test mean; none without scores, and none where all are equal."""
        done = [system for system in self.systems if system.done]
        pick = max if self.comparison.mode == "max" else min
        means = {system.mean for system in done}
        return frozenset(system.name for system in done if len(means) > 1 and system.mean == pick(means))


def campaign_results(inputs: ReportInputs) -> tuple[Result, ...]:
    """One result a comparison, in the campaign's order; works on a campaign that is not finished."""
    return tuple(_result(inputs, comparison) for comparison in inputs.comparisons)


def _result(inputs: ReportInputs, comparison: Comparison) -> Result:
    search = read_search(inputs, comparison)
    alone = alone_scores(inputs, comparison)
    systems = tuple(_scored(inputs, comparison.metric, system, alone) for system in comparison.systems)
    better = _better_proxy(systems, comparison.judged[1])
    gains = _gains(inputs, comparison, better)
    flatness = read_flatness(inputs, comparison, search, gains) if search else None
    name = inputs.language(comparison.target)
    return Result(comparison, name, systems, search, better, gains, flatness, _pair_gains(inputs, comparison))


def _scored(inputs: ReportInputs, metric: str, system: System, alone: Mapping[str, float]) -> ScoredSystem:
    finished = [(seed, inputs.records.get(key)) for seed, key in sorted(system.evaluations.items())]
    scores = [(seed, record.metrics[metric]) for seed, record in finished if record is not None]
    values = [score for _, score in scores]
    validation = alone.get(system.languages[0], math.nan) if len(system.languages) == 1 else math.nan
    return ScoredSystem(
        system.name,
        system.label,
        system.role,
        system.languages,
        tuple(scores),
        fmean(values) if values else math.nan,
        stdev(values) if len(values) > 1 else 0.0,
        validation,
    )


def _better_proxy(systems: tuple[ScoredSystem, ...], mode: str) -> str:
    """Name of the proxy with the best validation score; the only one needs none."""
    proxies = [system for system in systems if system.role == "proxy"]
    if len(proxies) == 1:
        return proxies[0].name
    if not proxies or any(math.isnan(proxy.validation) for proxy in proxies):
        return ""
    pick = max if mode == "max" else min
    return pick(proxies, key=lambda proxy: proxy.validation).name


def _gains(inputs: ReportInputs, comparison: Comparison, better_proxy: str) -> tuple[Gain, ...]:
    ours = next((system for system in comparison.systems if system.role == "arithmetic"), None)
    if ours is None:
        return ()
    baselines = [s for s in comparison.systems if s.name == better_proxy or s.role in _COMPARED]
    gains = (_gain(inputs, comparison, ours, baseline) for baseline in baselines)
    return tuple(gain for gain in gains if gain is not None)


def _pair_gains(inputs: ReportInputs, comparison: Comparison) -> tuple[tuple[System, Gain], ...]:
    own = [system for system in comparison.systems if system.role == "own"]
    pairs = [system for system in comparison.systems if system.role == "pair"]
    found = ((pair, _gain(inputs, comparison, pair, own[0])) for pair in pairs if own)
    return tuple((pair, gain) for pair, gain in found if gain is not None)


def _gain(inputs: ReportInputs, comparison: Comparison, ours: System, theirs: System) -> Gain | None:
    """Over the seeds that both systems have; None without any."""
    pairs = _tested(inputs, ours, theirs)
    if not pairs:
        return None
    metric = comparison.metric
    named = (theirs.name, theirs.label, theirs.role, _mean_gain(comparison, pairs))
    try:
        columns, groups, left, right = _statistics(inputs, pairs)
        draws = resamples_for(len(inputs.comparisons))
        found = paired_bootstrap(left, right, metric_over(metric, columns), comparison.mode, groups, draws)
    except (InputError, OSError, ValueError, KeyError) as problem:
        return Gain(*named, math.nan, math.nan, len(pairs), f"no interval: {problem}")
    return Gain(
        *named,
        found.low,
        found.high,
        len(pairs),
        _unknown(found, "context" if groups else "example"),
        found.p,
        found.seeds_low,
        found.seeds_high,
        found.units,
        found.differing,
        bool(groups),
    )


def _tested(inputs: ReportInputs, ours: System, theirs: System) -> list[tuple[Record, Record]]:
    """The test evaluations of both systems, of each seed that both have."""
    return [
        (inputs.records[key], inputs.records[theirs.evaluations[seed]])
        for seed, key in sorted(ours.evaluations.items())
        if key in inputs.records and theirs.evaluations.get(seed) in inputs.records
    ]


def _mean_gain(comparison: Comparison, pairs: Sequence[tuple[Record, Record]]) -> float:
    sign = 1 if comparison.mode == "max" else -1
    return sign * fmean(a.metrics[comparison.metric] - b.metrics[comparison.metric] for a, b in pairs)


def gain_on_test(inputs: ReportInputs, comparison: Comparison) -> float | None:
    """What arithmetic gains on test data over the better proxy, in an enhancement over the own adapter, without an
    interval: the mean over seeds. None where one of the two has not been tested.
    """
    if comparison.kind == "enhancement":
        base = next((system for system in comparison.systems if system.role == "own"), None)
    else:
        alone = alone_scores(inputs, comparison)
        scored = tuple(_scored(inputs, comparison.metric, system, alone) for system in comparison.systems)
        better = _better_proxy(scored, comparison.judged[1])
        base = next((system for system in comparison.systems if system.name == better), None)
    ours = next((system for system in comparison.systems if system.role == "arithmetic"), None)
    pairs = _tested(inputs, ours, base) if ours and base else []
    return _mean_gain(comparison, pairs) if pairs else None


def _unknown(found: Interval, unit: str) -> str:
    """Why there is no interval; "" where there is one."""
    if not math.isnan(found.low):
        return ""
    if found.units == 1:
        return f"no interval: one {unit}"
    return f"no interval: all {unit}s differ alike" if found.differing else "no interval: all alike"


def _statistics(
    inputs: ReportInputs, pairs: Sequence[tuple[Record, Record]]
) -> tuple[tuple[str, ...], tuple[str, ...], list[Statistics], list[Statistics]]:
    """What the columns hold, the groups of the examples, and the arrays [examples, columns] of both systems.

    Raises InputError for systems whose examples are grouped otherwise.
    """
    keys = [[record.key for record in records] for records in zip(*pairs, strict=True)]
    texts = [[(inputs.store.fetch(key) / "statistics.json").read_text(encoding="utf-8") for key in own] for own in keys]
    documents = [[json.loads(text) for text in own] for own in texts]
    grouped = {tuple(one.get("groups", ())) for own in documents for one in own}
    if len(grouped) > 1:
        raise InputError(Fault("the systems' examples have other contexts", todo="score both systems again"))
    left, right = ([np.asarray(one["rows"], dtype=np.float64) for one in own] for own in documents)
    return tuple(documents[0][0]["columns"]), grouped.pop(), left, right
