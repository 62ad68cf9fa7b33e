"""How long a large campaign would take on a large cluster, on paper: what the order of the steps and the banks decide.

    python benchmarks/schedule.py --out benchmarks/results/schedule.json

300 languages, 3 seeds, 3 tasks, of which two train an adapter, 4 evaluations of every merge; 64 nodes of 8 GPUs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.spec import (
    BackboneRef,
    BottleneckConfig,
    DataRef,
    EvaluationSpec,
    InitialAdapterSpec,
    LanguageAdapterSpec,
    MergeSpec,
    MixtureSpace,
    SearchSpec,
    TaskAdapterSpec,
    TaskRef,
    TrainingConfig,
)
from orchestrator.campaign.resources import ResourcesSection
from orchestrator.scheduling.cluster_model import Cluster
from orchestrator.scheduling.cost import CostModel
from orchestrator.scheduling.schedule import simulate
from orchestrator.store.step import Step, make_step

BACKBONE, ADAPTER = BackboneRef("tiny", "sha256:" + "ab" * 32), BottleneckConfig()
TRAINING = TrainingConfig(optimizer_steps=10, batch_size=2)
DATA = DataRef("text", "en", "sha256:" + "cd" * 32)
SEEDS, LANGUAGES, SOURCE = (1, 2, 3), 300, 150  # the source language stands in the middle of the pool
TASKS = tuple(TaskRef(name, "ner", ("O", "B-PER")) for name in ("first", "second", "third"))
SECONDS = {
    "initial-adapter": 2.0,
    "language-adapter": 1800.0,
    "task-adapter": 3600.0,
    "search": 8.0,
    "merge": 0.5,
    "evaluation": 25.0,
}
ASKED = {
    "every place for banks": ResourcesSection(gpus_per_bank=1, gpus_per_evaluator=0.5),
    "128 banks of one language at once": ResourcesSection(
        gpus_per_bank=1, gpus_per_evaluator=0.5, banks_at_once=128, bank_size=1
    ),
}


def graph() -> list[Step]:
    """The steps, inputs first, in the order in which a plan lists them: kind after kind, language after language."""
    theta = make_step(InitialAdapterSpec(BACKBONE, ADAPTER))
    trained = {
        (number, seed): make_step(
            LanguageAdapterSpec(f"l{number:03}", DATA, BACKBONE, ADAPTER, TRAINING, seed), {"theta_pre": theta}
        )
        for number in range(LANGUAGES)
        for seed in SEEDS
    }
    tasks = {
        (task.name, seed): make_step(
            TaskAdapterSpec(task, "en", DATA, BACKBONE, ADAPTER, TRAINING, seed),
            {"language:en": trained[SOURCE, seed]},
        )
        for task in TASKS[1:]
        for seed in SEEDS
    }
    rest = [step for number in range(LANGUAGES) for task in TASKS for step in _target(number, task, trained, tasks)]
    return [theta, *trained.values(), *tasks.values(), *rest]


def _target(
    number: int, task: TaskRef, trained: dict[tuple[int, int], Step], tasks: dict[tuple[str, int], Step]
) -> list[Step]:
    code = f"l{number:03}"
    space = MixtureSpace((("en", code),), tuple(n / 20 for n in range(21)))
    inputs = {f"language:{code}@{seed}": trained[number, seed] for seed in SEEDS}
    inputs |= {f"task@{seed}": tasks[task.name, seed] for seed in SEEDS if task is not TASKS[0]}
    search = make_step(SearchSpec(code, task, DATA, BACKBONE, space, SEEDS, 128), inputs)
    steps = [search]
    for seed in SEEDS:
        adapters = {"search": search, f"language:{code}": trained[number, seed]}
        merge = make_step(MergeSpec(code, task.name, BACKBONE, seed), adapters)
        steps.append(merge)
        for share in range(4):
            score = EvaluationSpec(code, task, DATA, BACKBONE, seed, (("merge", (share + 1) / 4),), "test", 128)
            steps.append(make_step(score, {"merge": merge}))
    return steps


def main() -> None:
    """Simulate and print; with --out, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    steps, results = graph(), []
    for name, resources in ASKED.items():
        started = time.perf_counter()
        found = simulate(steps, CostModel({}, SECONDS), resources, Cluster(64, 8, 96))
        results.append(
            {
                "resources": name,
                "steps": len(steps),
                "makespan_minutes": round(found.makespan / 60, 1),
                "critical_path_minutes": round(found.shortest / 60, 1),
                "gpu_hours_used": round(found.busy_hours(), 1),
                "gpu_hours_of_the_cluster": round(found.cluster_hours, 1),
                "seconds_of_simulation": round(time.perf_counter() - started, 1),
            }
        )
        print(results[-1])
    if asked.out:
        asked.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
