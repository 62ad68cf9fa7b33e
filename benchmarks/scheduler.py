"""Scheduler and store with 30,000 steps that do nothing: steps per second, memory, look-ups of a second run.

    python benchmarks/scheduler.py --out benchmarks/results/scheduler.json --peers PYTHON

The graph has the shape of a campaign: theta_pre, language adapters, a task adapter, searches, merges, evaluations.
Every step writes one file of 200 bytes and gives two metrics; everything else is what a campaign does: a staging
directory, hashes, fsync, a record, a rename, the event log. Each case runs in a process of its own. PYTHON is an
interpreter with `doit` and `luigi`: the same graph, the same files, each peer with its own way to remember.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.spec import (
    BackboneRef,
    BottleneckConfig,
    DataRef,
    EvaluationSpec,
    InitialAdapterSpec,
    JobResult,
    LanguageAdapterSpec,
    MergeSpec,
    MixtureSpace,
    SearchSpec,
    TaskAdapterSpec,
    TaskRef,
    TrainingConfig,
)
from orchestrator.execution.event_log import EventLog
from orchestrator.execution.executor import StepFinished, StepProgress, Work
from orchestrator.execution.loop import execute
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.step import Step, make_step

BACKBONE = BackboneRef("tiny", "sha256:" + "ab" * 32)
TASK = TaskRef("ner", "ner", ("O", "B-PER", "I-PER"))
PAYLOAD = b"x" * 200
SEEDS = (1, 2, 3)


class NoOpExecutor:
    """Ends every step at once, at most `width` of them a poll, as a busy cluster would."""

    name = "no-op"

    def __init__(self, width: int = 64) -> None:
        self._queue: deque[Work] = deque()
        self._width = width

    def submit(self, works: Sequence[Work]) -> None:
        """Queue."""
        self._queue.extend(works)

    def poll(self, timeout: float) -> Sequence[StepFinished | StepProgress]:
        """Write the files of the next few."""
        events = []
        for work in (self._queue.popleft() for _ in range(min(self._width, len(self._queue)))):
            (work.call.output / "adapter.safetensors").write_bytes(PAYLOAD)
            result = JobResult({"loss": 0.5, "seconds": 0.01}, {"loss": [(1.0, 2.0), (2.0, 0.5)]})
            events.append(StepFinished(work.step.key, result, 0.01, time.time()))
        return events

    def close(self) -> None:
        """Drop what is queued."""
        self._queue.clear()


def graph(count: int) -> list[Step]:
    """At least `count` steps, inputs first."""
    adapter, training = BottleneckConfig(), TrainingConfig(optimizer_steps=10, batch_size=2)
    theta = make_step(InitialAdapterSpec(BACKBONE, adapter))
    data = DataRef("text", "en", "sha256:" + "cd" * 32)
    steps, trained, tasks = [theta], {}, {}
    per_language = len(SEEDS) * 11 + 1
    for number in range(count // per_language + 1):
        code = f"l{number:05}"
        for seed in SEEDS:
            spec = LanguageAdapterSpec(code, data, BACKBONE, adapter, training, seed)
            trained[code, seed] = make_step(spec, {"theta_pre": theta})
            steps.append(trained[code, seed])
            if not number:
                task = TaskAdapterSpec(TASK, code, data, BACKBONE, adapter, training, seed)
                tasks[seed] = make_step(task, {f"language:{code}": trained[code, seed]})
                steps.append(tasks[seed])
        space = MixtureSpace((("l00000", code),), tuple(n / 20 for n in range(21)))
        inputs = {"theta_pre": theta} | {f"task@{seed}": tasks[seed] for seed in SEEDS}
        inputs |= {f"language:{one}@{seed}": trained[one, seed] for one in {code, "l00000"} for seed in SEEDS}
        search = make_step(SearchSpec(code, TASK, data, BACKBONE, space, SEEDS, 128), inputs)
        steps.append(search)
        for seed in SEEDS:
            adapters = {f"language:{code}@{seed}": trained[code, seed]}
            merge = make_step(MergeSpec(code, "ner", BACKBONE, seed), {"search": search, **adapters})
            steps.append(merge)
            for n in range(9):
                weights = (("merge", (n + 1) / 10),)
                score = EvaluationSpec(code, TASK, data, BACKBONE, seed, weights, "test", 128)
                steps.append(make_step(score, {"merge": merge, "task": tasks[seed]}))
    return steps[:count]


def run(folder: Path, steps: Sequence[Step]) -> dict[str, Any]:
    """One execution over the workspace in `folder`."""
    started = time.perf_counter()
    log = EventLog(folder / "campaigns" / "bench", len(steps))
    summary = execute(steps, ArtifactStore(folder), NoOpExecutor(), log, {"host": "bench"})
    log.close("finished")
    seconds = time.perf_counter() - started
    assert not summary.errors, next(iter(summary.errors.items()))
    return {
        "seconds": round(seconds, 2),
        "steps_per_second": round(len(steps) / seconds),
        "succeeded": summary.count("succeeded"),
        "reused": summary.count("reused"),
        "peak_mebibytes": peak_mebibytes(),
    }


def simulated(count: int) -> dict[str, Any]:
    """The same steps on paper, on 64 nodes of 8 GPUs."""
    from orchestrator.campaign.resources import ResourcesSection
    from orchestrator.scheduling.cluster_model import Cluster
    from orchestrator.scheduling.cost import CostModel
    from orchestrator.scheduling.schedule import simulate

    steps = graph(count)
    model = CostModel({}, dict.fromkeys((step.job for step in steps), 10.0))
    asked = ResourcesSection(gpus_per_bank=1, gpus_per_evaluator=0.5)
    started = time.perf_counter()
    found = simulate(steps, model, asked, Cluster(64, 8, 96))
    seconds = time.perf_counter() - started
    return {"seconds": round(seconds, 2), "spans": len(found.spans), "peak_mebibytes": peak_mebibytes()}


def peak_mebibytes() -> int:
    """Most memory this process ever held; the one that started it is not counted."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) // 1024


def case(name: str, count: int, folder: Path) -> dict[str, Any]:
    """One case, in this process."""
    if name == "simulation":
        return simulated(count)
    started = time.perf_counter()
    steps = graph(count)
    planned = time.perf_counter() - started
    if name == "one more":
        shutil.rmtree(ArtifactStore(folder).path(steps[-1].key))
    return {"make_steps_seconds": round(planned, 2), **run(folder, steps)}


def peers(python: str, count: int, folder: Path) -> list[dict[str, Any]]:
    """The same graph with doit and luigi, first and second run."""
    (folder / "graph.json").write_text(json.dumps([[s.key, [i.key for _, i in s.inputs]] for s in graph(count)]))
    script = Path(__file__).with_name("scheduler_peers.py")
    found = []
    for peer in ("doit", "luigi"):
        for what in ("first run", "second run"):
            command = [python, str(script), peer, str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            measured = (
                json.loads(done.stdout.splitlines()[-1]) if not done.returncode else {"failed": done.stderr[-300:]}
            )
            found.append({"what": f"{peer}, {what}", "steps": count, **measured})
    return found


def main() -> None:
    """Run every case in its own process and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--case")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--peers", default="")
    asked = parser.parse_args()
    if asked.case:
        print(json.dumps(case(asked.case, asked.steps, asked.folder)))
        return
    results = []
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        for what in ("first run", "second run", "one more", "simulation"):
            command = [sys.executable, __file__, "--case", what, "--steps", str(asked.steps), "--folder", name]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            results.append({"what": what, "steps": asked.steps, **json.loads(done.stdout.splitlines()[-1])})
            print(results[-1])
    if asked.peers:
        with tempfile.TemporaryDirectory(dir=asked.folder) as name:
            results += peers(asked.peers, asked.steps, Path(name))
            print(*results[-4:], sep="\n")
    if asked.out:
        machine = {"cores": os.cpu_count(), "load_average": os.getloadavg(), "python": sys.version.split()[0]}
        asked.out.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
