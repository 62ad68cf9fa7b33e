"""Weights to try: lambda grids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from jobs.spec import MOVING, Line, LineSpace, Mixture, MixtureSpace


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
    """A mixture to try; on a line of mixtures with the line's keys (`pair`) and the place on it (`lambda_`).

    `lambdas`: of a mixture with weights by part, the lambda of each such part, and of "rest".
    """

    mixture: Mixture
    pair: tuple[str, ...] = ()
    lambda_: float | None = None
    lambdas: tuple[tuple[str, float], ...] = ()

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


REST = "rest"


def parted_candidate(space: MixtureSpace | LineSpace, single: Candidate, by_part: Mapping[str, float]) -> Candidate:
    """`single`, a candidate on a line of the space, with lambdas of their own in some parts of the adapters.

    Parts at the single lambda are left out; without any the candidate is the single one.
    """
    assert single.lambda_ is not None
    apart = {part: value for part, value in by_part.items() if value != single.lambda_}
    if not apart:
        return single
    rest, moved = single.weights, {part: _on_line(space, single.pair, value) for part, value in apart.items()}
    keys = dict.fromkeys(key for weights in (rest, *moved.values()) for key in weights)
    mixture = replace(
        single.mixture,
        weights=tuple((key, rest.get(key, 0.0)) for key in keys),
        parts=tuple((part, tuple((key, weights.get(key, 0.0)) for key in keys)) for part, weights in moved.items()),
    )
    return Candidate(mixture, single.pair, lambdas=((REST, single.lambda_), *apart.items()))


def _on_line(space: MixtureSpace | LineSpace, pair: tuple[str, ...], lambda_: float) -> dict[str, float]:
    if isinstance(space, MixtureSpace):
        return pair_candidate((pair[0], pair[1]), lambda_).weights
    line = next(line for line in space.lines if tuple(key for key, _, _ in line) == pair)
    return line_candidate(space, line, lambda_).weights
