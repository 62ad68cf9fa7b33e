"""How a campaign stands, as Prometheus metrics on the endpoint that every Ray node has (`MetricsExportPort`).

ray_adapterfleet_steps_total{campaign, job, outcome}       steps that the executor has finished or failed
ray_adapterfleet_queue{campaign, job}                      steps that are ready or running
ray_adapterfleet_tokens_per_second{campaign, bank}         of all languages of a bank together
ray_adapterfleet_search_best{campaign, search}             best mean validation score so far
"""

from __future__ import annotations

import math
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TypeVar

from ray.util.metrics import Counter, Gauge

from orchestrator.execution.executor import StepFinished, StepProgress

M = TypeVar("M", Counter, Gauge)


class CampaignMetrics:
    """Fed by the executor; the values travel with Ray's own, every few seconds."""

    def __init__(self, campaign: str) -> None:
        """`campaign`: label of every value."""
        self._steps = _named(Counter, "steps", "steps finished or failed", ("job", "outcome"), campaign)
        self._queue = _named(Gauge, "queue", "steps ready or running", ("job",), campaign)
        self._speed = _named(Gauge, "tokens_per_second", "tokens a second of a bank", ("bank",), campaign)
        self._best = _named(Gauge, "search_best", "best mean validation score so far", ("search",), campaign)
        self._speeds: dict[str, dict[str, float]] = defaultdict(dict)
        self._bank_of: dict[str, str] = {}
        self._jobs: set[str] = set()

    def bank(self, name: str, keys: Iterable[str]) -> None:
        """A bank starts with the steps of these keys."""
        self._bank_of.update(dict.fromkeys(keys, name))

    def take(self, events: Sequence[StepFinished | StepProgress], unfinished: Iterable[str]) -> None:
        """What has happened, and the keys that the executor holds now."""
        if not events:
            return
        for event in events:
            if isinstance(event, StepFinished):
                outcome = "failed" if isinstance(event.outcome, Exception) else "succeeded"
                self._steps.inc(1, tags={"job": _job(event.key), "outcome": outcome})
                self._set_speed(event.key, 0.0)
            else:
                self._set_speed(event.key, event.values.get("tokens_per_second", 0.0))
                best = event.values.get("best", math.nan)
                if math.isfinite(best):
                    self._best.set(best, tags={"search": event.key})
        self.hold(unfinished)

    def hold(self, unfinished: Iterable[str]) -> None:
        """The keys that the executor holds now."""
        waiting = Tally(map(_job, unfinished))
        self._jobs |= waiting.keys()
        for job in self._jobs:
            self._queue.set(waiting[job], tags={"job": job})

    def _set_speed(self, key: str, value: float) -> None:
        bank = self._bank_of.get(key)
        if bank is not None:
            self._speeds[bank][key] = value
            self._speed.set(math.fsum(self._speeds[bank].values()), tags={"bank": bank})


def _named(made: type[M], name: str, what: str, tags: tuple[str, ...], campaign: str) -> M:
    metric = made(f"adapterfleet_{name}", what, tag_keys=("campaign", *tags))
    metric.set_default_tags({"campaign": campaign})
    return metric


def _job(key: str) -> str:
    return key.split("/", 1)[0]
