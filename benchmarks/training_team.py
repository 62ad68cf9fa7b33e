"""Where the time of a bank's two workers goes, beside controls that tell their causes apart.

Both workers stay in memory and take turns, batch for batch: one of them trains all rows while the other waits; one
trains half of the rows while the other waits (what smaller products cost); both train their halves without a word
to each other (what two processes on one memory cost); and both train as a team.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor
from training_cases import Shape, calls, learners, peak_memory

from jobs.bank_pass import BankPass
from jobs.language_learner import LanguageLearner
from jobs.team import Team

Seconds = dict[str, float]

# Batches of one way before the next one's turn, and rounds of all ways; the first round is not counted.
TURN, ROUNDS = 5, 9


@dataclass(frozen=True, slots=True)
class Silent(Team):
    """Takes a worker's share of the rows and tells nobody."""

    def sum(self, tensor: Tensor) -> Tensor:
        """Leave it."""
        return tensor


@dataclass(frozen=True, slots=True)
class Timed(Team):
    """A team that notes the seconds of its exchanges, waiting for the others included."""

    seconds: list[float] = field(default_factory=list)

    def sum(self, tensor: Tensor) -> Tensor:
        """As the team does."""
        begun = time.perf_counter()
        result = Team(self.rank, self.size).sum(tensor)
        self.seconds.append(time.perf_counter() - begun)
        return result


def time_team(shape: Shape, languages: int, folder: Path, turn: int = TURN, rounds: int = ROUNDS) -> dict[str, Any]:
    """On each of two workers: milliseconds of a step by its parts, in each way; on rank 0 with both put together."""
    bank, active, team = learners(calls(shape, languages, folder, 1000))
    ways = {
        "one worker": (Team(), 1),
        "half of the rows, alone": (Silent(0, 2), 1),
        "two halves, no exchange": (Silent(team.rank, 2), 2),
        "two workers": (Timed(team.rank, 2), 2),
    }
    taken: dict[str, list[Seconds]] = {way: [] for way in ways}
    for number in range(rounds):
        for way, (own, workers) in ways.items():
            team.all(None)
            if team.rank < workers:
                steps = [timed_step(bank, active, own, number * turn + place) for place in range(turn)]
                taken[way] += steps if number else []
    both = team.all(taken)
    return {**summary(both), "size": active[0].learner.vector.numel(), **peak_memory()}


def timed_step(bank: BankPass, languages: list[LanguageLearner], team: Team, number: int) -> Seconds:
    """One batch of all languages as `team` takes it, its parts in seconds."""
    bank._team = team
    marks = [time.perf_counter()]
    groups = [language.stream.batch(number) for language in languages]
    marks.append(time.perf_counter())
    losses, gradients = bank.losses(languages, groups)
    values = losses.tolist()
    marks.append(time.perf_counter())
    for language, loss, gradient, group in zip(languages, values, gradients, groups, strict=True):
        language.learner.learn(gradient, loss, sum(example.tokens for example in group))
    marks.append(time.perf_counter())
    data, passes, learning = (after - before for before, after in pairwise(marks))
    exchange = team.seconds.pop() if isinstance(team, Timed) else 0.0
    return {"data": data, "passes": passes - exchange, "exchange": exchange, "learning": learning}


def summary(both: list[dict[str, list[Seconds]]]) -> dict[str, Any]:
    """Medians over the steps, of the slower worker where there are two; the efficiency, and what would be reached."""
    milliseconds: dict[str, Seconds] = {}
    for way in both[0]:
        workers = [worker[way] for worker in both if worker[way]]
        steps = [[sum(step.values()) for step in worker] for worker in workers]
        parts = {part: max(median(step[part] for step in worker) for worker in workers) for part in workers[0][0]}
        # Whoever comes last does not wait: what is left is the message.
        message = median(min(one["exchange"] for one in moment) for moment in zip(*workers, strict=True))
        waiting = median(max(one["exchange"] for one in moment) for moment in zip(*workers, strict=True)) - message
        del parts["exchange"]
        parts |= {"message": message, "waiting": waiting, "step": max(median(worker) for worker in steps)}
        milliseconds[way] = {part: round(1e3 * value, 3) for part, value in parts.items()}
    one, half, free, team = (milliseconds[way]["step"] for way in milliseconds)
    return {
        "milliseconds": milliseconds,
        "efficiency": one / team / 2,
        "of_half_alone": one / half / 2,
        "of_two_halves_without_exchange": one / free / 2,
        "efficiency_of_what_two_halves_reach": free / team,
    }


median = statistics.median
