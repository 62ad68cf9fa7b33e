"""The outcomes as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos.campaigns import Outcome
from tests.chaos.faults import Fault


def markdown(faults: Sequence[Fault], outcomes: Sequence[Outcome], seed: int) -> str:
    """One row a fault: how often it was met, how often the end was that of an undisturbed run, seconds a time."""
    lines = ["| fault | what happens | met | ended well | seconds each |", "| --- | --- | ---: | ---: | ---: |"]
    for fault in dict.fromkeys(faults):
        met = [one for one in outcomes if one.fault == fault.name]
        if met:
            well = sum(not one.problem for one in met)
            seconds = sum(one.seconds for one in met) / len(met)
            lines.append(f"| {fault.name} | {fault.what} | {len(met)} | {well} | {seconds:.1f} |")
    well = sum(not one.problem for one in outcomes)
    lines += ["", f"{len(outcomes)} faults, seed {seed}: {well} ended as an undisturbed run does.", ""]
    lines += [f"- {one.fault}, seed {one.seed}: {one.problem}" for one in outcomes if one.problem]
    return "\n".join(lines) + "\n"
