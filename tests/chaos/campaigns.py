"""Draws faults by a seed, meets them one after another, and keeps what became of each."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.chaos.arena import Arena
from tests.chaos.faults import Fault


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one fault. `problem`: empty when the end was that of an undisturbed run."""

    number: int
    fault: str
    what: str
    seed: int
    seconds: float
    problem: str


def drawn(faults: Sequence[Fault], count: int, seed: int) -> list[tuple[Fault, int]]:
    """`count` faults with a seed each: every fault equally often, in an order of its own for each round."""
    rng, chosen = random.Random(seed), []
    while len(chosen) < count:
        chosen += [(fault, rng.randrange(1 << 30)) for fault in rng.sample(faults, len(faults))]
    return chosen[:count]


def meet_all(arena: Arena, faults: Sequence[tuple[Fault, int]], first: int = 0) -> Iterator[Outcome]:
    """Each fault on a workspace of its own, which is deleted when all was well and kept to look at when not."""
    for number, (fault, seed) in enumerate(faults, first):
        place = arena.folder / f"fault-{number}"
        begun, problem = time.monotonic(), ""
        try:
            fault.meet(arena, str(place), random.Random(seed))
            shutil.rmtree(place, ignore_errors=True)
        except Exception as wrong:  # noqa: BLE001 - whatever it is, it is this fault's bad end, and the others go on
            problem = " ".join(f"{type(wrong).__name__}: {wrong}".split())[:400]
        yield Outcome(number, fault.name, fault.what, seed, round(time.monotonic() - begun, 1), problem)
