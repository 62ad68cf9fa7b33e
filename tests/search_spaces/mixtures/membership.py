"""Whether a space has a candidate, told from its definition: what proposed candidates are checked against."""

from jobs.spec import LineSpace, Mixture, MixtureSpace, RangeSpace, RuleSpace, SearchSpace, SimplexSpace, SubsetSpace
from search_spaces.mixtures.spaces import TOLERANCE, _counts, candidates


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
