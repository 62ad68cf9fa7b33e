"""Search spaces: which candidates are in one, how many, and what is wrong with one that holds none."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations, product

from jobs.spec import LineSpace, Mixture, MixtureSpace, RangeSpace, RuleSpace, SearchSpace, SimplexSpace, SubsetSpace
from search_spaces.mixtures.candidates import Candidate, line_candidate, pair_candidate
from search_spaces.mixtures.simplex import composition_count, compositions, parts_of

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


def contains(space: SearchSpace, mixture: Mixture) -> bool:
    """Whether a candidate of the space is `mixture`; a step is met within rounding."""
    if isinstance(space, RuleSpace):
        plain = Mixture(mixture.weights)
        allowed = dict(space.options)
        given = dict(mixture.options)
        if mixture.method != space.method or given.keys() != allowed.keys():
            return False
        return all(given[name] in allowed[name] for name in allowed) and contains(space.weights, plain)
    if isinstance(space, LineSpace):
        return any(_same(candidate.mixture, mixture) for candidate in candidates(space))
    if mixture.method != "task_arithmetic" or mixture.options:
        return False
    weights = dict(mixture.weights)
    match space:
        case MixtureSpace():
            return any(_close(weights, candidate.weights) for candidate in candidates(space))
        case SimplexSpace():
            return weights.keys() <= set(space.simplex) and _on_simplex(weights, space.step)
        case SubsetSpace():
            return _is_subset(space, weights)
        case RangeSpace():
            ends = {key: (low, high) for key, low, high in space.ranges}
            inside = all(ends[k][0] - TOLERANCE <= w <= ends[k][1] + TOLERANCE for k, w in weights.items() if k in ends)
            steps = ((weights.get(key, 0.0) - low) for key, low, _ in space.ranges)
            return weights.keys() <= ends.keys() and inside and all(_is_multiple(value, space.step) for value in steps)


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


def _close(a: dict[str, float], b: dict[str, float]) -> bool:
    return all(abs(a.get(key, 0.0) - b.get(key, 0.0)) <= TOLERANCE for key in a.keys() | b.keys())


def _same(one: Mixture, other: Mixture) -> bool:
    alike = (one.method, one.options) == (other.method, other.options)
    return alike and _close(dict(one.weights), dict(other.weights))


def _on_simplex(weights: dict[str, float], step: float) -> bool:
    whole = abs(sum(weights.values()) - 1.0) <= 1e-6 and all(weight >= -TOLERANCE for weight in weights.values())
    return whole and all(_is_multiple(weight, step) for weight in weights.values())


def _is_multiple(value: float, step: float) -> bool:
    return not step or abs(value / step - round(value / step)) <= 1e-6


def _is_subset(space: SubsetSpace, weights: dict[str, float]) -> bool:
    used = {key for key, weight in weights.items() if weight}
    chosen = used - set(space.always)
    if not (set(space.always) <= used and chosen <= set(space.pool) and len(chosen) in _counts(space)):
        return False
    if space.step:
        return _on_simplex(weights, space.step)
    return all(abs(weights[key] - 1.0 / len(used)) <= TOLERANCE for key in used)
