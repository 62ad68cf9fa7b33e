"""Weights to try: lambda grids."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from jobs.spec import MOVING, Line, LineSpace, Mixture


def lambda_grid(step: float) -> tuple[float, ...]:
    """0, step, 2 step ... 1, both ends included (arXiv 2404.15737: 0..1 in steps of 0.05).

    Exact decimals, no accumulated error. 1 is added where the step does not divide it. Raises ValueError
    unless 0 < step <= 1.
    """
    if not 0 < step <= 1:
        raise ValueError(f"a lambda step lies in (0, 1], not {step}")
    return lambda_range(0.0, 1.0, step)


def lambda_range(low: float, high: float, step: float) -> tuple[float, ...]:
    """low, low + step ... high, both ends included, exact decimals. Raises ValueError unless low <= high, step > 0."""
    if not (low <= high and step > 0):
        raise ValueError(f"no lambda lies between {low} and {high} in steps of {step}")
    first, last, exact = Fraction(str(low)), Fraction(str(high)), Fraction(str(step))
    values = [float(first + exact * i) for i in range(int((last - first) / exact) + 1)]
    return tuple(values if values[-1] == high else [*values, float(high)])


@dataclass(frozen=True, slots=True)
class Candidate:
    """A mixture to try; on a line of mixtures with the line's keys (`pair`) and the place on it (`lambda_`)."""

    mixture: Mixture
    pair: tuple[str, ...] = ()
    lambda_: float | None = None

    @property
    def weights(self) -> dict[str, float]:
        """Key -> weight."""
        return dict(self.mixture.weights)


def pair_candidate(pair: tuple[str, str], lambda_: float) -> Candidate:
    """`lambda_` of pair[0] and 1 - lambda of pair[1]; languages of weight zero are left out."""
    a, b = pair
    mixed = {a: 1.0} if a == b else {a: lambda_, b: round(1.0 - lambda_, 12)}
    return Candidate(Mixture(tuple((key, weight) for key, weight in mixed.items() if weight != 0.0)), pair, lambda_)


def weight_at(constant: float, slope: float, lambda_: float) -> float:
    """`constant + slope * lambda_` as an exact decimal, free of binary noise."""
    return float(Fraction(str(constant)) + Fraction(str(slope)) * Fraction(str(lambda_)))


# Options that say how low-rank adapters are merged, whatever the rule.
_ANY_RULES = ("space", "rank")
_TASK = "task:"  # what keys of task adapters begin with


def line_candidate(space: LineSpace, line: Line, lambda_: float) -> Candidate:
    """The mixture at `lambda_` of a line, without keys of weight zero that bring no head: a task adapter that is not
    moved is linear.
    """
    weighted = ((key, weight_at(constant, slope, lambda_)) for key, constant, slope in line)
    kept = (_TASK,) if space.heads else ()
    weights = tuple((key, weight) for key, weight in weighted if weight != 0.0 or key.startswith(kept))
    options = (*space.options, *(((space.lambda_option, lambda_),) if space.lambda_option else ()))
    if space.method in MOVING and len(weights) == 1:
        mixture = Mixture(weights, "linear", tuple(option for option in options if option[0] in _ANY_RULES))
    else:
        mixture = Mixture(weights, space.method, options)
    return Candidate(mixture, tuple(key for key, _, _ in line), lambda_)
