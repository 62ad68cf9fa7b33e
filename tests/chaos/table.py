"""The outcomes as a table for people. `python -m tests.chaos.table A.json B.json` makes one of several runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.campaigns import Outcome


def markdown(outcomes: Sequence[Outcome]) -> str:
    """One row a fault: how often it was met, how often the end was that of an undisturbed run, seconds a time."""
    lines = ["| fault | what happens | met | ended well | seconds each |", "| --- | --- | ---: | ---: | ---: |"]
    for name, what in sorted({(one.fault, one.what) for one in outcomes}):
        met = [one for one in outcomes if one.fault == name]
        well = sum(not one.problem for one in met)
        seconds = sum(one.seconds for one in met) / len(met)
        lines.append(f"| {name} | {what} | {len(met)} | {well} | {seconds:.1f} |")
    well = sum(not one.problem for one in outcomes)
    lines += ["", f"{len(outcomes)} faults: {well} ended as an undisturbed run does.", ""]
    lines += [f"- {one.fault}, seed {one.seed}: {one.problem}" for one in outcomes if one.problem]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    documents = [json.loads(Path(file).read_text(encoding="utf-8")) for file in sys.argv[1:]]
    print(markdown([Outcome(**one) for document in documents for one in document["outcomes"]]), end="")
