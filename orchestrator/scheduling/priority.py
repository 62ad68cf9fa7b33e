"""Which of the steps that could start goes first: the one that the longest chain of other steps waits for."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.scheduling.cost import CostModel
from orchestrator.store.step import Step

UNKNOWN = 1.0  # seconds of a step of which nobody knows how long it takes
LEAST = 1e-3  # seconds of any step, so that an input always comes before what needs it


def by_upward_rank(steps: Sequence[Step], costs: CostModel) -> list[Step]:
    """The steps by the seconds of the longest chain that begins with each, longest first; inputs stay in front.

    `steps`: inputs before those that need them. List scheduling by the longest path to an exit (Graham 1969; "upward
    rank" of HEFT, Topcuoglu et al. 2002): what is on the critical path never waits behind what is not.
    """
    chain: dict[str, float] = {}
    for step in reversed(steps):
        own = costs.seconds(step)
        chain[step.key] = chain.get(step.key, 0.0) + max(LEAST, UNKNOWN if own is None else own)
        for _, source in step.inputs:
            chain[source.key] = max(chain.get(source.key, 0.0), chain[step.key])
    return sorted(steps, key=lambda step: -chain[step.key])
