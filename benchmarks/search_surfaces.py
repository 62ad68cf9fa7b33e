"""Record real score surfaces once, so that strategies are compared on them without a forward pass.

    adapterfleet run campaigns/quickstart.yaml -w WORKSPACE
    python benchmarks/search_surfaces.py WORKSPACE gl/ner ca/ner uk/ner gl/text uk/text

Each surface holds, for every mixture of eight pool languages whose weights are multiples of 0.2 and for the equal
mixture of every subset, the summed validation statistics of twentieths of the validation set, for both seeds. Scores
on any nested part of the set, and leave-one-block-out scores, follow from these sums.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

POOL = ("en", "es", "pt", "fr", "it", "ru", "pl", "tr")
PARTS = 5  # weights are multiples of 1/5
BLOCKS = 20
HERE = Path(__file__).parent / "surfaces"


def mixtures() -> np.ndarray:
    """[mixtures, 8] weights: the simplex grid, then the equal mixtures that are not on it."""
    grid = [tuple(part / PARTS for part in parts) for parts in compositions(PARTS, len(POOL))]
    equal = []
    for size in range(1, len(POOL) + 1):
        for chosen in combinations(range(len(POOL)), size):
            equal.append(tuple(1 / size if place in chosen else 0.0 for place in range(len(POOL))))
    return np.array(list(dict.fromkeys([*grid, *equal])))


def compositions(total: int, places: int) -> Iterator[tuple[int, ...]]:
    """All tuples of `places` non-negative integers that sum to `total`."""
    if places == 1:
        yield (total,)
        return
    for first in range(total, -1, -1):
        for rest in compositions(total - first, places - 1):
            yield (first, *rest)


def record(workspace: Path, target: str, task: str) -> None:
    """Score every mixture for one target and task, as its search in the workspace was scored."""
    from jobs.evaluation.evaluator import Evaluator
    from jobs.evaluation.madx_evaluator import WarmEvaluator
    from jobs.spec import Mixture
    from jobs.tokens.evaluation_sets import EvaluationSet

    spec, inputs = search_of(workspace, target, task)
    warm = WarmEvaluator(spec.backbone, workspace / "cache", "cpu")
    data = EvaluationSet(spec.task, spec.data, "validation", spec.max_length, spec.mask_probability)
    evaluator = Evaluator(warm, data, inputs)
    weights, started, rows = mixtures(), time.time(), []
    for row in weights:
        mixture = Mixture(tuple((code, float(w)) for code, w in zip(POOL, row, strict=True) if w))
        rows.append([in_blocks(evaluator.evaluate(mixture, seed).statistics) for seed in spec.seeds])
    statistics = np.array(rows)
    whole = task == "ner"
    np.savez_compressed(
        HERE / f"{target}-{task}.npz",
        weights=weights.astype(np.float32),
        statistics=statistics.astype(np.uint16 if whole else np.float32),
        facts=np.array(
            json.dumps(
                {
                    "target": target,
                    "task": task,
                    "pool": POOL,
                    "seeds": spec.seeds,
                    "metric": "f1" if whole else "mlm_loss",
                    "examples": len(evaluator.evaluate(mixture, spec.seeds[0]).statistics),
                    "seconds_per_evaluation": round((time.time() - started) / len(weights), 4),
                }
            )
        ),
    )


def search_of(workspace: Path, target: str, task: str, campaign: str = "quickstart") -> tuple[Any, dict[str, Path]]:
    """The search's spec as the campaign of that file plans it, and every adapter of the workspace by role."""
    from orchestrator.campaign.load import load_campaign
    from orchestrator.plan.pinned_references import References
    from orchestrator.plan.plan import plan_campaign

    file = HERE.parents[1] / "campaigns" / f"{campaign}.yaml"
    plan = plan_campaign(load_campaign(file), References(workspace / "cache"))
    found = next(c for c in plan.comparisons if (c.target, c.task.name) == (target, task))
    artifacts = workspace / "artifacts"
    steps = {step.key: step for step in plan.steps}
    roles = {role: artifacts / step.key for role, step in found.search.inputs}
    for step in steps.values():
        if step.job == "language-adapter":
            roles[f"language:{step.spec.language}@{step.spec.seed}"] = artifacts / step.key  # type: ignore[union-attr]
    return found.search.spec, roles


def in_blocks(statistics: np.ndarray) -> np.ndarray:
    """[BLOCKS, columns]: sums over consecutive parts of the examples."""
    return np.array([part.sum(axis=0) for part in np.array_split(statistics, BLOCKS)])


def main() -> None:
    """Record the surfaces named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("surface", nargs="+", help="target/task")
    arguments = parser.parse_args()
    for name in arguments.surface:
        record(arguments.workspace, *name.split("/"))


if __name__ == "__main__":
    main()
