"""One mixture for several objectives: gains that can be compared, what none beats, and the rules by which one wins.

Scores of different tasks have different units. A gain is therefore counted in the error of one reference mixture: the
share of it that a mixture removes. A flat objective then has gains near zero, whichever of its candidates is best, and
does not decide for the others; in units of its own range it would have as much to say as any.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from jobs.spec import Choice, Direction

# What a score of points lacks of these is its error; a loss is an error itself.
FULL_SCORE = 100.0
Gains = tuple[float, ...]  # one an objective, in the objectives' order


def gains(scores: Sequence[float], reference: Sequence[float], directions: Sequence[Direction]) -> Gains:
    """The share of the reference's error that is gone, for each objective; negative where there is more of it.

    `scores` and `reference` in the metrics' own units. A reference without error counts as one of one point.
    """
    found = []
    for score, other, direction in zip(scores, reference, directions, strict=True):
        error = FULL_SCORE - other if direction == "max" else other
        gained = score - other if direction == "max" else other - score
        found.append(gained / (error if error > 0 else 1.0))
    return tuple(found)


def scalarized_score(one: Gains, ideal: Gains, choice: Choice) -> float:
    """What a candidate is worth by a rule; the highest wins. `ideal`: the best gain of each objective.

    mean: the mean gain. worst: the least gain (maximin). regret: minus the greatest loss against what is best for an
    objective alone (minimax regret, Savage 1951); 0 is a mixture that is best for all.
    """
    match choice:
        case "mean":
            return fmean(one)
        case "worst":
            return min(one)
        case "regret":
            return -max(best - gain for best, gain in zip(ideal, one, strict=True))


def ideal_of(candidates: Sequence[Gains]) -> Gains:
    """The best gain of each objective, whichever candidate has it."""
    return tuple(max(column) for column in zip(*candidates, strict=True))


def surrogate(one: Gains, choice: Choice) -> float:
    """What a strategy is told of a candidate while the best of each objective is not known yet; higher is better.

    By regret it is the mean gain: a strategy must not be told another value for the same candidate later.
    """
    return min(one) if choice == "worst" else fmean(one)


def pareto_front(candidates: Sequence[Gains]) -> list[int]:
    """Places of the candidates that no other is as good as everywhere and better than somewhere."""
    front: list[int] = []
    for at in sorted(range(len(candidates)), key=lambda at: candidates[at], reverse=True):
        if not any(_dominates(candidates[other], candidates[at]) for other in front):
            front.append(at)
    return sorted(front)


def _dominates(one: Gains, other: Gains) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))
