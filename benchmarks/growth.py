"""How the cost of a campaign grows with its languages: plan, training, search, second run, MLflow, report, workspace.

    python benchmarks/growth.py --out benchmarks/results/growth.json

For 8, 32, 128 and 512 languages with an adapter, and an eighth as many targets without one, the same small campaign
runs on the embedded backbone, in one process each and without Ray. What is measured is the processor time of that
process, so that other load on the machine matters little. Adapters train for four steps: what a step costs is in
training.json. The exponent of a part is the slope of log(seconds) on log(languages), over all sizes and between the
two largest.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

CAMPAIGN = """
campaign: growth
backbone: {{name: embedded}}
corpora: {{source: json, files: "{data}/{{language}}/{{split}}.jsonl"}}
languages: {{pool: {pool}}}
language_adapter:
  reduction_factor: 8
  invertible_reduction_factor: 8
  training: {{optimizer_steps: 4, batch_size: 4, max_length: 32, evaluate_every: 4, evaluation_examples: 8}}
tasks: [{{name: text, kind: masked-lm, language: en}}]
comparisons:
  - {{name: zero-shot, kind: zero-shot, targets: {targets}, tasks: [text], related: {{by: geographic, top: 1}}}}
search: {{lambda_step: 0.25, max_length: 32}}
"""
SIZES = (8, 32, 128, 512)
ROWS = {"train": 60, "validation": 10, "test": 10}


def main() -> None:
    """Measure every size in a process of its own and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measured(arguments.one, Path(folder))))
        return
    rows = [_in_its_own_process(size) for size in arguments.sizes]
    result = {"sizes": rows, "exponents": exponents(rows), "conditions": _conditions()}
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


def _in_its_own_process(size: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", str(size)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    row: dict[str, Any] = json.loads(said.splitlines()[-1])
    print(json.dumps(row), file=sys.stderr)
    return row


def exponents(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Part -> the least-squares slope over all sizes, and that between the two largest."""
    found = {}
    for part in rows[0]["processor_seconds"]:
        points = [(math.log(row["languages"]), math.log(row["processor_seconds"][part])) for row in rows]
        found[part] = {"all": _slope(points), "largest_two": _slope(points[-2:])}
    return found


def _slope(points: Sequence[tuple[float, float]]) -> float:
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return round(sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points), 2)


def measured(size: int, folder: Path) -> dict[str, Any]:
    """One campaign of `size` languages, part after part."""
    from rich.console import Console

    from orchestrator.campaign.load import load_campaign
    from orchestrator.execution.local import LocalExecutor
    from orchestrator.execution.loop import describe_nothing, execute
    from orchestrator.plan.pinned_references import References
    from orchestrator.plan.plan import in_order, plan_campaign
    from orchestrator.report.write import write_report
    from orchestrator.run import RunSettings, run_campaign
    from orchestrator.store.artifacts import open_store
    from orchestrator.store.layout import check_workspace

    file, workspace = _campaign(size, folder), folder / "workspace"
    workspace.mkdir()
    check_workspace(workspace)
    store, clock = open_store(workspace), Clock()
    plan = plan_campaign(load_campaign(file), References(workspace / "cache"))
    clock.lap("plan")
    adapters = [step for step in plan.steps if step.job == "language-adapter"]
    for part, steps in (("training", in_order(adapters)), ("search, merge and score", list(plan.steps))):
        summary = execute(steps, store, LocalExecutor(), _untold, {}, describe_nothing)
        if summary.errors:
            raise RuntimeError(str(summary.errors))
        clock.lap(part)
    quiet = Console(file=(folder / "said").open("w", encoding="utf-8"))
    run_campaign(plan, RunSettings(workspace, "local"), quiet)
    clock.lap("MLflow and report")
    report = write_report(workspace, plan.campaign.campaign)
    clock.lap("report")
    again = plan_campaign(load_campaign(file), References(workspace / "cache"))
    run_campaign(again, RunSettings(workspace, "local"), quiet)
    clock.lap("second run, report included")
    return {
        "languages": size,
        "targets": _targets(size),
        "steps": len(plan.steps),
        "processor_seconds": clock.laps,
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "workspace_mib": round(sum(one.stat().st_size for one in workspace.rglob("*") if one.is_file()) / 2**20, 1),
        "report_mib": round(report.html.stat().st_size / 2**20, 2),
    }


class Clock:
    """Processor seconds of this process and of children that ended, part by part."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = self._now()

    def lap(self, name: str) -> None:
        """What was spent since the last lap."""
        now = self._now()
        self.laps[name], self._last = round(now - self._last, 2), now

    @staticmethod
    def _now() -> float:
        times = os.times()
        return times.user + times.system + times.children_user + times.children_system


def _targets(size: int) -> int:
    return max(1, size // 8)


def _campaign(size: int, folder: Path) -> Path:
    """The campaign file and its texts: English ones of the CLDR, in another order for each language."""
    import pycountry

    from jobs.data.cldr_ner import sentences
    from search_spaces.relatedness.uriel import load_features

    placed = load_features("geographic").rows  # where languages lie is known of thousands
    codes = [
        one.alpha_3 for one in pycountry.languages if one.alpha_3 in placed and (one.scope, one.type) == ("I", "L")
    ]
    codes.remove("eng")
    pool, targets = ["en", *codes[: size - 1]], codes[size - 1 : size - 1 + _targets(size)]
    lines = [" ".join(row.tokens) for row in sentences("en", "train")]
    for place, language in enumerate((*pool, *targets)):
        (folder / "data" / language).mkdir(parents=True)
        for split, count in ROWS.items():
            chosen = [lines[(7 * place + number) % len(lines)] for number in range(count)]
            rows = "".join(json.dumps({"text": text}) + "\n" for text in chosen)
            (folder / "data" / language / f"{split}.jsonl").write_text(rows, encoding="utf-8")
    file = folder / "growth.yaml"
    text = CAMPAIGN.format(data=folder / "data", pool=json.dumps(pool), targets=json.dumps(targets))
    file.write_text(text, encoding="utf-8")
    return file


def _untold(event: object) -> None:
    """Nobody watches."""


def _conditions() -> dict[str, Any]:
    return {
        "platform": platform.machine(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "load": os.getloadavg()[0],
    }


if __name__ == "__main__":
    main()
