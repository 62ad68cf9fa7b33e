"""Weights to try: lambda grids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from jobs.spec import Mixture, MixtureSpace


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


def candidates(space: MixtureSpace) -> Iterator[Candidate]:
    """Every candidate once: an endpoint that two pairs share (one adapter alone) comes with the first pair
    only.
    """
    seen: set[Mixture] = set()
    for pair in space.pairs:
        for value in space.lambdas:
            candidate = pair_candidate(pair, value)
            if candidate.mixture not in seen:
                seen.add(candidate.mixture)
                yield candidate
