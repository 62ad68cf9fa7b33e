"""Successive halving on nested parts of the validation set, with paired differences."""

from __future__ import annotations

import math
import random

from jobs.spec import SearchSpace, StrategySpec
from search_spaces.mixtures.axes import axes, candidate_at
from search_spaces.mixtures.candidates import Candidate
from search_spaces.mixtures.spaces import candidates, size
from search_spaces.strategies.strategy import Observation, Trial, surely_below

SHARES = (0.1, 0.3, 1.0)  # parts of the validation set, each inside the next
KEPT = 1 / 3
SMALLEST = 9  # candidates in the first round
DEFAULT_BUDGET = 40
MANY = 20_000  # a space up to this size is sampled without repeats


class Halving:
    """Many candidates on a tenth of the examples, the best third on three tenths, the best third of those on all.

    Jamieson and Talwalkar 2016, with examples as the resource. A round's candidates are scored on the same examples,
    so their differences are paired: one that is surely below the round's best (95 %, jackknife over parts of the
    examples) is dropped even where a place is left. Starts join the last round. The first round has as many as the
    budget pays for.
    """

    def __init__(self, space: SearchSpace, spec: StrategySpec) -> None:
        """Draws the first round's candidates with `spec.seed`."""
        budget = (spec.evaluations or DEFAULT_BUDGET) - len(spec.starts)
        price = sum(share * KEPT**number for number, share in enumerate(SHARES))
        wanted = max(SMALLEST, int(budget / price))
        self._round = 0
        self._queue = [Trial(candidate, SHARES[0]) for candidate in _drawn(space, wanted, spec.seed)]
        self._waiting: set[Trial] = set()
        self._seen: dict[Trial, Observation] = {}

    def ask(self) -> Trial | None:
        """The next of this round; None until the round's scores are there."""
        if not self._queue and not self._waiting:
            self._next_round()
        if not self._queue:
            return None
        trial = self._queue.pop(0)
        self._waiting.add(trial)
        return trial

    def tell(self, observation: Observation) -> None:
        """Note a score of this round; those of starts, which are not part of a round, are left alone."""
        if observation.trial in self._waiting:
            self._waiting.discard(observation.trial)
            self._seen[observation.trial] = observation

    def _next_round(self) -> None:
        if self._round + 1 >= len(SHARES) or not self._seen:
            return
        ranked = sorted(self._seen.values(), key=lambda seen: -seen.value)
        places = max(1, math.ceil(len(ranked) * KEPT))
        kept = [one for one in ranked[:places] if not surely_below(one, ranked[0])]
        self._round += 1
        self._seen = {}
        self._queue = [Trial(one.trial.candidate, SHARES[self._round]) for one in kept]


def _drawn(space: SearchSpace, wanted: int, seed: int) -> list[Candidate]:
    """Candidates without repeats: all of a small space in its order, else a draw."""
    generator, count = random.Random(seed), size(space)
    if count is not None and count <= MANY:
        every = list(candidates(space))
        chosen = sorted(generator.sample(range(len(every)), min(wanted, len(every))))
        return [every[place] for place in chosen]
    found: dict[Candidate, None] = {}
    for _ in range(20 * wanted):
        point = {
            axis.name: generator.randint(int(axis.low), int(axis.high))
            if axis.whole
            else generator.uniform(axis.low, axis.high)
            for axis in axes(space)
        }
        found[candidate_at(space, point)] = None
        if len(found) == wanted:
            break
    return list(found)
