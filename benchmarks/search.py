"""How fast and how frugal the search is: wall-clock of trials, and evaluations that each strategy needs.

    python benchmarks/search.py --only strategies             recorded surfaces, no forward pass; about a minute
    python benchmarks/search.py --only evaluators             a candidate beside its forward passes, one evaluator
                                                              and two; about six times --seconds, and half a minute
    python benchmarks/search.py --only thousand               the cost of a trial under Tune, of 1,000; under 3 minutes
    python benchmarks/search.py --only batches                several candidates in one forward pass; a minute
    python benchmarks/search.py --only trials --workspace W   against the paper's way and Tune's default; three minutes

`trials` needs the workspace of a finished quickstart (or, with --backbone e5-small, of quickstart-e5), the others make
what they need. Results go beside those of the
other parts in --out. Run it on a machine that does nothing else; threads are one an evaluator.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Ours and this folder, here and in the processes that Ray starts.
sys.path[:0] = FOLDERS = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]
os.environ["PYTHONPATH"] = os.pathsep.join([*FOLDERS, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
CAMPAIGNS = {"embedded": "quickstart", "e5-small": "quickstart-e5"}
RESULTS = Path(__file__).resolve().parent / "results" / "search.json"


def strategies(arguments: argparse.Namespace) -> dict[str, Any]:
    """Evaluations to reach the best of the full grid within 0.1 (lines) and 0.3 (subsets of eight languages)."""
    from search_strategies import lines, overhead, subsets

    return {
        "overhead at 1,000 trials": overhead(),
        "lines": lines(arguments.gp),
        "subsets": subsets(arguments.gp),
    }


def trials(arguments: argparse.Namespace) -> dict[str, Any]:
    """21 lambdas in four ways."""
    from search_trials import measure

    return measure(arguments.workspace, CAMPAIGNS[arguments.backbone])


def evaluators(arguments: argparse.Namespace) -> dict[str, Any]:
    """A candidate beside its forward passes, two evaluators against one."""
    from search_evaluators import measure

    return measure(arguments.seconds)


def thousand(arguments: argparse.Namespace) -> dict[str, Any]:
    """The cost of trials alone."""
    from search_evaluators import many_trials

    return many_trials(1000)


def batches(arguments: argparse.Namespace) -> dict[str, Any]:
    """Several candidates in one forward pass."""
    from search_batches import measure

    return measure()


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "strategies": strategies,
    "evaluators": evaluators,
    "thousand": thousand,
    "batches": batches,
    "trials": trials,
}


def main() -> None:
    """Run the parts that are asked for and put each beside the others in the file."""
    about = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=about)
    parser.add_argument("--only", choices=tuple(PARTS), nargs="+", required=True)
    parser.add_argument("--workspace", type=Path, help="of a finished quickstart, for `trials`")
    parser.add_argument("--backbone", choices=CAMPAIGNS, default="embedded", help="of the workspace, for `trials`")
    parser.add_argument("--seconds", type=float, default=20.0, help="of forward passes, for `evaluators`")
    parser.add_argument("--gp", type=int, default=0, help="runs with Gaussian processes, which take minutes")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if "trials" in arguments.only and arguments.workspace is None:
        parser.error("--only trials needs --workspace")
    for part in arguments.only:
        load = os.getloadavg()[0]
        found = PARTS[part](arguments)
        document = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.is_file() else {}
        machine = {"cores": os.cpu_count(), "python": platform.python_version(), "load": load}
        name = part if arguments.backbone == "embedded" else f"{part}, {arguments.backbone}"
        document[name] = {"machine": machine, **found}
        arguments.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        print(json.dumps({name: document[name]}, indent=1), flush=True)


if __name__ == "__main__":
    main()
