"""How fast and how frugal the search is: wall-clock of trials, and evaluations that each strategy needs.

    python benchmarks/search.py strategies --out benchmarks/results/search.json
    python benchmarks/search.py trials --workspace WORKSPACE --out benchmarks/results/search.json

`strategies` runs on the recorded surfaces of benchmarks/surfaces and computes no forward pass. `trials` needs the
workspace of a finished quickstart: 21 lambdas of one search against a fresh process per lambda, against Tune's
default function trials, and against the bare sum of the forward passes; two evaluators against one; and what a trial
costs beyond its score, at 1,000 trials.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))


def strategies(gp: int) -> dict[str, Any]:
    """Evaluations to reach the best of the full grid within 0.1 (lines) and 0.3 (subsets of eight languages)."""
    from search_strategies import lines, overhead, subsets

    return {"overhead at 1,000 trials": overhead(), "lines": lines(gp), "subsets": subsets(gp)}


def trials(workspace: Path) -> dict[str, Any]:
    """Wall-clock of real searches."""
    from search_trials import measure

    return measure(workspace)


def main() -> None:
    """Run one part and put it beside the other in the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("strategies", "trials"))
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--gp", type=int, default=0, help="runs with Gaussian processes, which take minutes")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    found = strategies(arguments.gp) if arguments.part == "strategies" else trials(arguments.workspace)
    document = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.is_file() else {}
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]}
    document[arguments.part] = {"machine": machine, **found}
    arguments.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(document[arguments.part], indent=1))


if __name__ == "__main__":
    main()
