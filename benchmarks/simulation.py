"""The simulation against reality: a campaign is simulated, then run on a real Ray cluster of this machine.

    python benchmarks/simulation.py --out benchmarks/results/simulation.json

A small campaign runs first: its records say what steps cost on this machine, its workspace how long processes take to
start beside that, as `plan --cluster` learns both. From them a larger one (other languages, seeds and searches) is
simulated before it runs: that is the prediction. It is made a second time with the built-in start-up times, and a third
time afterwards, from the records and start-up times of the larger campaign itself: what is left then is the error of
the rules, not of what is put in.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from orchestrator.campaign.load import load_campaign
from orchestrator.plan.pinned_references import References
from orchestrator.plan.plan import plan_campaign
from orchestrator.scheduling.cluster_model import Cluster
from orchestrator.scheduling.cost import cost_model
from orchestrator.scheduling.schedule import Schedule, simulate
from orchestrator.scheduling.simulation import Overheads
from orchestrator.scheduling.startup_times import FILE, StartupTimes, known_startup_times
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.record import Record

ROOT = Path(__file__).resolve().parents[1]
CAMPAIGN = """
campaign: {name}
backbone: {{name: embedded}}
corpora: {{source: cldr}}
languages: {{pool: {pool}}}
seeds: [{seed}]
language_adapter:
  reduction_factor: {factor}
  training: {{optimizer_steps: {steps}, batch_size: 16, learning_rate: 1.0e-3, max_length: 64}}
task_adapter:
  training: {{optimizer_steps: {steps}, batch_size: 16, learning_rate: 1.0e-3, max_length: 64}}
tasks: [{{name: ner, kind: ner, language: en, data: {{source: cldr}}}}]
comparisons:
  - {{name: zero-shot, kind: zero-shot, targets: {targets}, tasks: [ner], related: {{by: syntactic, top: 1}}}}
search: {{lambda_step: {step}, max_length: 64}}
resources: {{cpus_per_bank: 1, cpus_per_evaluator: 1, banks_at_once: 1}}
"""
SMALL = {"name": "first", "pool": "[en, de]", "steps": 120, "targets": "[nl]", "step": 0.1, "seed": 1, "factor": 8}
LARGE = {
    "name": "second",
    "pool": "[en, es, pt, it, ru, pl]",
    "steps": 120,
    "targets": "[gl, ca, uk]",
    "step": 0.05,
    "seed": 2,
    "factor": 4,
}


@dataclass(frozen=True, slots=True)
class Measured:
    """A run: records by key, the seconds at which each was recorded, and what processes took to start."""

    records: Mapping[str, Record]
    recorded: Mapping[str, float]
    start_ups: StartupTimes

    def until(self) -> dict[str, float]:
        """Job -> seconds until its last step was recorded."""
        jobs = dict.fromkeys(key.split("/")[0] for key in self.recorded)
        return {job: max(s for key, s in self.recorded.items() if key.startswith(f"{job}/")) for job in jobs}


def simulated(file: Path, run: Measured, extra: Overheads, cpus: int, known: Sequence[str]) -> Schedule:
    """The campaign of `file` from the costs of a run; `known`: keys that count as finished."""
    with tempfile.TemporaryDirectory() as cache:
        plan = plan_campaign(load_campaign(file), References(Path(cache)))
    steps = [step for step in plan.steps if step.key not in known]
    return simulate(steps, cost_model(run.records.values()), plan.campaign.resources, Cluster(1, 0, cpus), extra)


def measured(file: Path, workspace: Path, name: str) -> Measured:
    """Run it on a Ray cluster of its own."""
    command = [sys.executable, "-m", "orchestrator", "run", str(file), "-w", str(workspace), "--tracking", "off"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    lines = (workspace / "campaigns" / name / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    begin = min(event["time"] for event in events if event["event"] == "running")
    recorded = {event["key"]: event["time"] - begin for event in events if event["event"] == "succeeded"}
    records = {record.key: record for record in ArtifactStore(workspace).records() if record.key in recorded}
    start_ups = known_startup_times(workspace, {})
    (workspace / FILE).unlink()  # each campaign is asked for its own
    return Measured(records, recorded, start_ups)


def _ends(schedule: Schedule, job: str) -> list[float]:
    return [end for key, end in schedule.ends.items() if key.startswith(f"{job}/")]


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3 if value < 0.1 else 1) for name, value in values.items()}


def main() -> None:
    """Run both campaigns, simulate the second before and after, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    cpus = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as place:
        workspace, files = Path(place) / "ws", {}
        for campaign in (SMALL, LARGE):
            files[campaign["name"]] = Path(place) / f"{campaign['name']}.yaml"
            files[campaign["name"]].write_text(CAMPAIGN.format(**campaign), encoding="utf-8")
        first = measured(files["first"], workspace, "first")
        second = measured(files["second"], workspace, "second")
        known = list(first.records)
        ways = {
            "costs and start-up times of the first campaign": (first, first.start_ups.overheads),
            "costs of the first campaign, built-in start-up times": (first, Overheads()),
            "costs and start-up times of the second campaign itself": (second, second.start_ups.overheads),
        }
        schedules = {way: simulated(files["second"], run, extra, cpus, known) for way, (run, extra) in ways.items()}
    seconds = max(second.recorded.values())
    result: dict[str, Any] = {"cpus": cpus, "steps": len(second.recorded), "measured": _rounded(second.until())}
    result["sources"] = {run: one.start_ups.sentence() for run, one in (("first", first), ("second", second))}
    for way, schedule in schedules.items():
        result[way] = {
            "start-up": _rounded(asdict(ways[way][1])),
            "until": _rounded({job: max(_ends(schedule, job)) for job in schedule.jobs()}),
            "error": round(schedule.makespan / seconds - 1, 3),
        }
    print(json.dumps(result, indent=1))
    if asked.out:
        asked.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
