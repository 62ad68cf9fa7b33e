"""Do intervals and p-values keep what docs/statistics.md promises? Made-up campaigns whose true gains are known.

    python benchmarks/significance.py --only examples    95 % intervals over examples and contexts; 4 minutes
    python benchmarks/significance.py --only seeds       95 % intervals over seeds and examples; 14 minutes
    python benchmarks/significance.py --only family      false wins after Holm's correction; 12 minutes
    python benchmarks/significance.py --only speed       seconds a comparison of 1,000 examples; seconds

Shares are in percent, of --campaigns (1,000); the error of a share of 95 % is then 0.7. `resamples` are 1,000, and
2,000 for the family: fewer than a campaign's 10,000, for speed; the Monte Carlo error that this adds is in the shares.
Results go beside those of the other parts in --out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]
RESULTS = Path(__file__).resolve().parent / "results" / "significance.json"

import numpy as np  # noqa: E402
from significance_worlds import ACCURACY, World, accuracy, contexts, seeded, spans  # noqa: E402

from jobs.scoring.bootstrap import Interval, paired_bootstrap  # noqa: E402
from orchestrator.results.significance import ALPHA, holm, resamples_for  # noqa: E402

WORLDS = {
    "accuracy": accuracy(0.62, 0.55, 0.7),
    "F1 of entities": spans((0.62, 0.5), (0.5, 0.6), 0.7),
    "F1 of answers, by context": contexts(0.05, 0.6),
    "accuracy, systems almost alike": accuracy(0.9, 0.89, 0.97),
}
SIZES = (20, 50, 100, 1000)
FEW = 10  # differing examples, below which a report says so


def examples(campaigns: int) -> dict[str, Any]:
    """How often the interval over examples holds the true gain; of contexts also what drawing questions would give."""
    rows = []
    for name, world in WORLDS.items():
        true = world.true_gain()
        for units in SIZES:
            rng = np.random.default_rng(units)
            found = [_measured(world, rng, units) for _ in range(campaigns)]
            own = [one for one, _ in found]
            row: dict[str, Any] = {"metric": name, "units": units, "true gain": round(true, 2)}
            row["covers"] = _covers([(one.low, one.high) for one in own], true)
            row["no interval"] = _share([np.isnan(one.low) for one in own])
            row["few differ"] = _share([one.differing < FEW for one in own])
            if apart := [one for _, one in found if one is not None]:
                row["covers, questions drawn one by one"] = _covers([(one.low, one.high) for one in apart], true)
            rows.append(row)
            print(json.dumps(row), flush=True)
    return {"resamples": 1000, "rows": rows}


def _measured(world: World, rng: np.random.Generator, units: int) -> tuple[Interval, Interval | None]:
    a, b, groups = world.draw(rng, units)
    own = paired_bootstrap(a, b, world.metric, groups=groups, resamples=1000)
    return own, paired_bootstrap(a, b, world.metric, resamples=1000) if groups and units <= 100 else None


def seeds(campaigns: int) -> dict[str, Any]:
    """How often the interval over seeds and examples holds the true gain of all trainings on all examples."""
    rows = []
    for count in (2, 3, 5):
        for spread in (0.0, 0.02, 0.05, 0.1, 0.3):
            world, true = seeded(0.15, count, spread)
            rng = np.random.default_rng(count)
            both, alone, percentile = [], [], []
            for _ in range(campaigns):
                a, b, _ = world.draw(rng, 300)
                found = paired_bootstrap(a, b, ACCURACY, resamples=1000)
                both.append((found.seeds_low, found.seeds_high))
                alone.append((found.low, found.high))
                percentile.append(_drawn_twice(a, b, rng))
            row = {"seeds": count, "spread": spread, "true gain": round(float(true), 2)}
            row |= {"covers": _covers(both, true), "mean width": round(float(np.mean(np.diff(both))), 1)}
            row |= {"covers, over examples alone": _covers(alone, true)}
            row |= {"covers, percentiles of drawing seeds and examples": _covers(percentile, true)}
            rows.append(row)
            print(json.dumps(row), flush=True)
    return {"resamples": 1000, "units": 300, "rows": rows}


def _drawn_twice(a: list[Any], b: list[Any], rng: np.random.Generator, resamples: int = 500) -> tuple[float, float]:
    """The hierarchical bootstrap by percentiles: seeds with replacement, then examples, the same for both systems."""
    table = np.stack(a)[..., 1] - np.stack(b)[..., 1]
    seeds_, units = table.shape
    drawn = rng.multinomial(seeds_, np.full(seeds_, 1 / seeds_), resamples) @ table / seeds_
    counts = rng.multinomial(units, np.full(units, 1 / units), resamples)
    gains = (counts * drawn).sum(axis=1) / units
    return float(np.quantile(gains, 0.025)), float(np.quantile(gains, 0.975))


FAMILIES: dict[str, tuple[Callable[[], World], int]] = {
    "accuracy": (lambda: accuracy(0.6, 0.6, 0.7), 100),
    "accuracy, systems almost alike": (lambda: accuracy(0.9, 0.9, 0.97), 200),
    "F1 of entities": (lambda: spans((0.6, 0.5), (0.6, 0.5), 0.7), 100),
    "F1 of answers, by context": (lambda: contexts(0.0, 0.6), 60),
}
COMPARISONS = 20


def family(campaigns: int) -> dict[str, Any]:
    """Campaigns of 20 comparisons without any gain: the share with a false win after Holm's correction, and before."""
    rows = []
    for name, (make, units) in FAMILIES.items():
        world, rng = make(), np.random.default_rng(units)
        corrected, plain, by_draws = [], [], []
        for _ in range(campaigns):
            values, tails = zip(*_related(world, rng, units), strict=True)
            corrected.append(min(holm(values)) < ALPHA)
            plain.append(min(values) < ALPHA)
            by_draws.append(min(holm(tails)) < ALPHA)
        row = {"metric": name, "units": units, "false wins after Holm": _share(corrected)}
        row |= {"without correction": _share(plain), "after Holm, p from the interval's draws": _share(by_draws)}
        rows.append(row)
        print(json.dumps(row), flush=True)
    return {"resamples": 2000, "comparisons": COMPARISONS, "rows": rows}


def _related(world: World, rng: np.random.Generator, units: int) -> list[tuple[float, float]]:
    """The p-values of one campaign: every second comparison has the baseline and the examples of the one before."""
    found: list[tuple[float, float]] = []
    before: Any = None
    for number in range(COMPARISONS):
        a, b, groups = world.draw(rng, units)
        if number % 2:
            a, b, groups = before[2], before[1], before[3]
        else:
            # A third system that is the first one on half of the examples and the second one on the others.
            take = rng.random(units) < 0.5
            place = np.unique(groups, return_inverse=True)[1] if groups else np.arange(units)
            third = [np.where(take[place][:, None], x, y) for x, y in zip(a, b, strict=True)]
            before = a, b, third, groups
        one = paired_bootstrap(a, b, world.metric, groups=groups, resamples=2000)
        found.append((one.p, _tail(one)))
    return found


def _tail(one: Interval) -> float:
    """The p-value that would go with the interval: the largest level at which it excludes zero."""
    from scipy.stats import t

    half = (one.high - one.low) / 2
    if np.isnan(half) or half == 0:
        return one.p
    return float(2 * t.sf(abs(one.gain) / half * t.ppf(0.975, one.units - 1), one.units - 1))


def speed(campaigns: int) -> dict[str, Any]:
    """Seconds for the intervals and p-values of a comparison with three baselines, three seeds and 1,000 examples."""
    world, _ = seeded(0.1, 3, 0.0)
    rng, resamples = np.random.default_rng(0), resamples_for(200)
    took = []
    for _ in range(20):
        pairs = [world.draw(rng, 1000)[:2] for _ in range(3)]
        start = time.perf_counter()
        for a, b in pairs:
            paired_bootstrap(a, b, ACCURACY, resamples=resamples)
        took.append(time.perf_counter() - start)
    return {
        "comparisons": 200,
        "resamples": resamples,
        "first": round(took[0], 3),
        "others": round(float(np.median(took[1:])), 3),
    }


def _covers(intervals: list[tuple[float, float]], true: float) -> float:
    """Of those that are known."""
    known = [(low, high) for low, high in intervals if not np.isnan(low)]
    return _share([low <= true <= high for low, high in known])


def _share(found: list[Any]) -> float:
    return round(100 * float(np.mean(found)), 1)


PARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "examples": examples,
    "seeds": seeds,
    "family": family,
    "speed": speed,
}


def main() -> None:
    """Run the parts that are asked for and put each beside the others in the file."""
    about = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=about)
    parser.add_argument("--only", choices=tuple(PARTS), nargs="+", required=True)
    parser.add_argument("--campaigns", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    for part in arguments.only:
        load, start = os.getloadavg()[0], time.perf_counter()
        found = PARTS[part](arguments.campaigns)
        document = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.is_file() else {}
        machine = {"cores": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__, "load": load}
        took = {"campaigns": arguments.campaigns, "seconds": round(time.perf_counter() - start, 1)}
        document[part] = {"machine": machine, **took, **found}
        arguments.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
