"""Weights to try: lambda grids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from jobs.spec import MixtureSpace


def lambda_grid(step: float) -> tuple[float, ...]:
    """0, step, 2 step ... 1, both ends included (arXiv 2404.15737: 0..1 in steps of 0.05).

    Exact decimals, no accumulated error. 1 is added where the step does not divide it. Raises ValueError
    unless 0 < step <= 1.
    """
    if not 0 < step <= 1:
        raise ValueError(f"a lambda step lies in (0, 1], not {step}")
    exact = Fraction(str(step))
    values = [float(exact * i) for i in range(int(1 / exact) + 1)]
    return tuple(values if values[-1] == 1.0 else [*values, 1.0])


@dataclass(frozen=True, slots=True)
class Candidate:
    """A point of a mixture space: `lambda_` of pair[0] and 1 - lambda of pair[1]."""

    pair: tuple[str, str]
    lambda_: float

    @property
    def weights(self) -> dict[str, float]:
        """Language -> weight; languages of weight zero are left out."""
        a, b = self.pair
        if a == b:
            return {a: 1.0}
        mixed = {a: self.lambda_, b: round(1.0 - self.lambda_, 12)}
        return {code: weight for code, weight in mixed.items() if weight != 0.0}


def candidates(space: MixtureSpace) -> Iterator[Candidate]:
    """Every candidate once: an endpoint that two pairs share (one adapter alone) comes with the first pair
    only.
    """
    seen: set[tuple[tuple[str, float], ...]] = set()
    for pair in space.pairs:
        for value in space.lambdas:
            candidate = Candidate(pair, value)
            key = tuple(sorted(candidate.weights.items()))
            if key not in seen:
                seen.add(key)
                yield candidate
