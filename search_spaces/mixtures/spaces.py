"""Search spaces: which candidates are in one and how many; and the grid of weights that sum to one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, product

from jobs.spec import LineSpace, Mixture, MixtureSpace, RangeSpace, RuleSpace, SearchSpace, SimplexSpace, SubsetSpace
from search_spaces.mixtures.candidates import Candidate, line_candidate, pair_candidate

TOLERANCE = 1e-9


def keys_of(space: SearchSpace) -> tuple[str, ...]:
    """The keys that candidates may weigh, in the space's order."""
    match space:
        case MixtureSpace():
            return tuple(dict.fromkeys(key for pair in space.pairs for key in pair))
        case LineSpace():
            return tuple(dict.fromkeys(key for line in space.lines for key, _, _ in line))
        case SimplexSpace():
            return space.simplex
        case SubsetSpace():
            return (*space.always, *space.pool)
        case RangeSpace():
            return tuple(key for key, _, _ in space.ranges)
        case RuleSpace():
            return keys_of(space.weights)


def size(space: SearchSpace) -> int | None:
    """How many candidates `candidates` yields; None for a space without a grid."""
    match space:
        case MixtureSpace() | LineSpace():
            return sum(1 for _ in candidates(space))
        case SimplexSpace():
            return composition_count(parts_of(space.step), len(space.simplex)) if space.step else None
        case SubsetSpace():
            return sum(math.comb(len(space.pool), count) * _mixtures_of(space, count) for count in _counts(space))
        case RangeSpace():
            grids = [range_values(low, high, space.step) for _, low, high in space.ranges]
            nothing = all(any(abs(value) <= TOLERANCE for value in grid) for grid in grids)
            return math.prod(map(len, grids)) - nothing if space.step else None
        case RuleSpace():
            inner = size(space.weights)
            return None if inner is None else inner * math.prod(len(values) for _, values in space.options)


def candidates(space: SearchSpace) -> Iterator[Candidate]:
    """Every candidate of a space with a grid, once; an end that two lines share comes with the first line only.

    Raises ValueError for a space without a grid.
    """
    seen: set[Mixture] = set()
    for candidate in _all(space):
        if candidate.mixture.weights and candidate.mixture not in seen:
            seen.add(candidate.mixture)
            yield candidate


def _all(space: SearchSpace) -> Iterator[Candidate]:
    match space:
        case MixtureSpace():
            yield from (pair_candidate(pair, value) for pair in space.pairs for value in space.lambdas)
        case LineSpace():
            yield from (line_candidate(space, line, value) for line in space.lines for value in space.lambdas)
        case SimplexSpace():
            parts = _grid_parts(space.step)
            for counts in compositions(parts, len(space.simplex)):
                yield weighted(dict(zip(space.simplex, (count / parts for count in counts), strict=True)))
        case SubsetSpace():
            yield from _subsets(space)
        case RangeSpace():
            _grid_parts(space.step)
            grids = [range_values(low, high, space.step) for _, low, high in space.ranges]
            for values in product(*grids):
                yield weighted(dict(zip(keys_of(space), values, strict=True)))
        case RuleSpace():
            names = [name for name, _ in space.options]
            for candidate in candidates(space.weights):
                for options in product(*(values for _, values in space.options)):
                    yield ruled(candidate, space, dict(zip(names, options, strict=True)))


def weighted(weights: dict[str, float]) -> Candidate:
    """A candidate with these weights, those of zero left out."""
    return Candidate(Mixture(tuple((key, weight) for key, weight in weights.items() if abs(weight) > TOLERANCE)))


def ruled(candidate: Candidate, space: RuleSpace, options: dict[str, float | str]) -> Candidate:
    """The same weights by the space's rule with these options."""
    mixture = Mixture(candidate.mixture.weights, space.method, tuple(options.items()))
    return Candidate(mixture, candidate.pair, candidate.lambda_)


def range_values(low: float, high: float, step: float) -> tuple[float, ...]:
    """low, low + step ... up to high; empty for a step of 0."""
    if step <= 0:
        return ()
    return tuple(round(low + i * step, 12) for i in range(math.floor((high - low) / step + TOLERANCE) + 1))


def _subsets(space: SubsetSpace) -> Iterator[Candidate]:
    for count in _counts(space):
        for chosen in combinations(space.pool, count):
            keys = (*space.always, *chosen)
            if not space.step:
                yield weighted(dict.fromkeys(keys, 1.0 / len(keys)))
                continue
            parts = parts_of(space.step)
            for counts in compositions(parts, len(keys), 1):
                yield weighted(dict(zip(keys, (part / parts for part in counts), strict=True)))


def _counts(space: SubsetSpace) -> range:
    return range(space.smallest, min(space.largest, len(space.pool)) + 1)


def _mixtures_of(space: SubsetSpace, count: int) -> int:
    keys = count + len(space.always)
    return composition_count(parts_of(space.step), keys, 1) if space.step else 1


def _grid_parts(step: float) -> int:
    if not step:
        raise ValueError("a space without a step has no grid to walk through")
    return round(1 / step)


def parts_of(step: float) -> int:
    """How many times `step` fits into one. Raises ValueError when it does not fit: no sum of such weights is one."""
    parts = round(1 / step) if step > 0 else 0
    if not parts or not math.isclose(parts * step, 1.0, rel_tol=1e-9):
        raise ValueError(f"a step that does not divide 1 reaches no point of the simplex: {step:g}")
    return parts


def compositions(total: int, places: int, least: int = 0) -> Iterator[tuple[int, ...]]:
    """All tuples of `places` integers of at least `least` that sum to `total`, the first place falling."""
    if places == 1:
        if total >= least:
            yield (total,)
        return
    for first in range(total - least * (places - 1), least - 1, -1):
        for rest in compositions(total - first, places - 1, least):
            yield (first, *rest)


def composition_count(total: int, places: int, least: int = 0) -> int:
    """How many tuples `compositions` yields."""
    free = total - least * places
    return math.comb(free + places - 1, places - 1) if free >= 0 else 0


def rounded(shares: Sequence[float], parts: int, least: int = 0) -> tuple[int, ...]:
    """Integers of at least `least` that sum to `parts`, nearest to `shares`, which sum to one.

    Whole parts first, then one more for the largest remainders; ties go to the earlier place. Needs
    `parts >= least * len(shares)`.
    """
    wanted = [share * parts for share in shares]
    counts = [max(least, int(value + 1e-9)) for value in wanted]
    while sum(counts) < parts:
        place = max(range(len(counts)), key=lambda i: (round(wanted[i] - counts[i], 9), -i))
        counts[place] += 1
    while sum(counts) > parts:
        place = max(
            (i for i in range(len(counts)) if counts[i] > least), key=lambda i: (round(counts[i] - wanted[i], 9), i)
        )
        counts[place] -= 1
    return tuple(counts)


def normalised(values: Sequence[float]) -> tuple[float, ...]:
    """`values`, not negative, divided by their sum; equal shares when all are zero."""
    total = sum(values)
    return tuple(value / total for value in values) if total > 0 else (1.0 / len(values),) * len(values)
