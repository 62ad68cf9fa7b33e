"""Where the time of a bank's two workers goes, beside controls that tell their causes apart.

Both workers stay in memory and take turns, batch for batch: one of them trains all rows while the other waits; one
trains half of the rows while the other waits (what smaller products cost); both train their halves without a word
to each other (what two processes on one memory cost); and both train as a team. Processor time, in which a worker's
waiting does not count, stands beside: on a machine that others use too it is the one that can be compared.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor
from training_cases import Shape, calls, learners, now, peak_memory, since

from jobs.banks.forward_pass import BankPass
from jobs.banks.language_learner import LanguageLearner
from jobs.training.data_parallel import DataParallel

Seconds = dict[str, float]

# Of all ways; the first one is not counted. A turn is as many batches of one way.
ROUNDS = 9


@dataclass(frozen=True, slots=True)
class Silent(DataParallel):
    """Takes a worker's share of the rows and tells nobody."""

    def sum(self, tensor: Tensor) -> Tensor:
        """Leave it."""
        return tensor


@dataclass(frozen=True, slots=True)
class Timed(DataParallel):
    """A team that notes the seconds of its exchanges, waiting for the others included."""

    seconds: list[float] = field(default_factory=list)

    def sum(self, tensor: Tensor) -> Tensor:
        """As the team does."""
        begun = time.perf_counter()
        result = DataParallel(self.rank, self.size).sum(tensor)
        self.seconds.append(time.perf_counter() - begun)
        return result


def time_team(shape: Shape, languages: int, folder: Path) -> dict[str, Any]:
    """Milliseconds of a step by its parts in each way, told by each of two workers; what follows from them."""
    bank, active, team = learners(calls(shape, languages, folder, 1000))
    turn = max(1, shape.steps // 5)
    ways = {
        "one worker": (DataParallel(), 1),
        "half of the rows, alone": (Silent(0, 2), 1),
        "two halves, no exchange": (Silent(team.rank, 2), 2),
        "two workers": (Timed(team.rank, 2), 2),
    }
    taken: dict[str, list[Seconds]] = {way: [] for way in ways}
    for number in range(ROUNDS):
        for way, (own, workers) in ways.items():
            team.all_gather(None)
            if team.rank < workers:
                steps = [timed_step(bank, active, own, number * turn + place) for place in range(turn)]
                taken[way] += steps if number else []
    both = team.all_gather(taken)
    numbers = {"languages": languages, "numbers_of_an_adapter": active[0].learner.vector.numel()}
    return {**numbers, "steps": (ROUNDS - 1) * turn, **summary(both), **peak_memory()}


def timed_step(bank: BankPass, languages: list[LanguageLearner], team: DataParallel, number: int) -> Seconds:
    """One batch of all languages as `team` takes it: seconds of its parts, of all, and of the processor."""
    bank._team = team
    begun, marks = now(), [time.perf_counter()]
    groups = [language.stream.batch(number) for language in languages]
    marks.append(time.perf_counter())
    losses, gradients = bank.losses(languages, groups)
    values = losses.tolist()
    marks.append(time.perf_counter())
    for language, loss, gradient, group in zip(languages, values, gradients, groups, strict=True):
        language.learner.learn(gradient, loss, sum(example.tokens for example in group), 1)
    marks.append(time.perf_counter())
    data, passes, learning = (after - before for before, after in pairwise(marks))
    exchange = 0.0
    if isinstance(team, Timed):
        exchange = sum(team.seconds)
        team.seconds.clear()
    step, processor = since(begun)
    passes -= exchange
    return {
        "data": data,
        "passes": passes,
        "exchange": exchange,
        "learning": learning,
        "step": step,
        "processor": processor,
    }


def summary(both: list[dict[str, list[Seconds]]]) -> dict[str, Any]:
    """Medians over the steps, of the slower worker where there are two; how much of a halved time each way reaches."""
    milliseconds: dict[str, Seconds] = {}
    for way in both[0]:
        workers = [worker[way] for worker in both if worker[way]]
        parts = {part: max(median(step[part] for step in worker) for worker in workers) for part in workers[0][0]}
        # Whoever comes last does not wait: what is left is the message.
        message = median(min(one["exchange"] for one in moment) for moment in zip(*workers, strict=True))
        waiting = median(max(one["exchange"] for one in moment) for moment in zip(*workers, strict=True)) - message
        del parts["exchange"]
        milliseconds[way] = {
            part: round(1e3 * value, 2) for part, value in {**parts, "message": message, "waiting": waiting}.items()
        }
    one, *others = milliseconds.values()
    half, free, team = (one["step"] / other["step"] / 2 for other in others)
    return {
        "milliseconds": milliseconds,
        "efficiency": team,
        "efficiency_of_half_of_the_rows_alone": half,
        "efficiency_of_two_halves_without_exchange": free,
        "of_what_two_halves_without_exchange_reach": team / free,
        "efficiency_in_processor_time": one["processor"] / others[-1]["processor"] / 2,
    }


median = statistics.median
