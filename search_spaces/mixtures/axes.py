"""A space as axes that a sampler of numbers understands, and the candidate nearest to a point on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from jobs.spec import LineSpace, Mixture, MixtureSpace, RangeSpace, RuleSpace, SearchSpace, SimplexSpace, SubsetSpace
from search_spaces.mixtures.candidates import Candidate, line_candidate, pair_candidate
from search_spaces.mixtures.spaces import normalised, parts_of, rounded, ruled, weighted

Point = Mapping[str, float]
# The smallest share of the largest weight at which a language still belongs to a set of equal weights.
_MEMBER = 0.5


@dataclass(frozen=True, slots=True)
class Axis:
    """A number from `low` to `high`; with `whole` an integer, with `unordered` the number of a choice."""

    name: str
    low: float
    high: float
    whole: bool = False
    unordered: bool = False


def axes(space: SearchSpace) -> tuple[Axis, ...]:
    """The axes of a space. Weights on a simplex have one axis a key, of which the proportions count."""
    match space:
        case MixtureSpace() | LineSpace():
            lines = space.pairs if isinstance(space, MixtureSpace) else space.lines
            pairs = (Axis("pair", 0, len(lines) - 1, True, True),) if len(lines) > 1 else ()
            return (*pairs, Axis("lambda", 0, len(space.lambdas) - 1, True))
        case SimplexSpace():
            return tuple(Axis(key, 0.0, 1.0) for key in space.simplex)
        case SubsetSpace():
            shared = space.always if space.step else ()
            return tuple(Axis(key, 0.0, 1.0) for key in (*shared, *space.pool))
        case RangeSpace():
            return tuple(Axis(key, low, high) for key, low, high in space.ranges)
        case RuleSpace():
            several = [(name, values) for name, values in space.options if len(values) > 1]
            options = (Axis(f"option {name}", 0, len(values) - 1, True) for name, values in several)
            return (*axes(space.weights), *options)


def candidate_at(space: SearchSpace, point: Point) -> Candidate:
    """The candidate of the space that a point on its axes stands for."""
    match space:
        case MixtureSpace():
            pair = space.pairs[int(point.get("pair", 0))]
            return pair_candidate(pair, space.lambdas[int(point["lambda"])])
        case LineSpace():
            line = space.lines[int(point.get("pair", 0))]
            return line_candidate(space, line, space.lambdas[int(point["lambda"])])
        case SimplexSpace():
            shares = normalised([point[key] for key in space.simplex])
            return weighted(dict(zip(space.simplex, _on_grid(shares, space.step, 0), strict=True)))
        case SubsetSpace():
            return _subset_at(space, point)
        case RangeSpace():
            return _weights_at(space, point)
        case RuleSpace():
            options = {name: values[int(point.get(f"option {name}", 0))] for name, values in space.options}
            return ruled(candidate_at(space.weights, point), space, options)


def point_of(space: SearchSpace, mixture: Mixture) -> dict[str, float] | None:
    """A point that stands for a mixture, or the nearest to it there is; None where the axes cannot express it."""
    weights = dict(mixture.weights)
    match space:
        case MixtureSpace() | LineSpace():
            return _place_on_lines(space, mixture)
        case SimplexSpace() | SubsetSpace():
            largest = max(weights.values(), default=0.0)
            if largest <= 0 or min(weights.values()) < 0:
                return None
            return {axis.name: weights.get(axis.name, 0.0) / largest for axis in axes(space)}
        case RangeSpace():
            return {key: min(max(weights.get(key, 0.0), low), high) for key, low, high in space.ranges}
        case RuleSpace():
            options = dict(mixture.options)
            inner = point_of(space.weights, Mixture(mixture.weights))
            known = mixture.method == space.method and all(
                options.get(name) in values for name, values in space.options
            )
            if inner is None or not known:
                return None
            places = {f"option {name}": values.index(options[name]) for name, values in space.options}
            return {**inner, **{axis.name: places[axis.name] for axis in axes(space) if axis.name in places}}


def _place_on_lines(space: MixtureSpace | LineSpace, mixture: Mixture) -> dict[str, float] | None:
    for place in product(*(range(int(axis.high) + 1) for axis in axes(space))):
        point = {axis.name: float(at) for axis, at in zip(axes(space), place, strict=True)}
        if candidate_at(space, point).mixture == mixture:
            return point
    return None


def _weights_at(space: RangeSpace, point: Point) -> Candidate:
    """No weights at all are no mixture: then the first key that may weigh something does."""
    candidate = weighted({key: _stepped(point[key], low, high, space.step) for key, low, high in space.ranges})
    if candidate.weights:
        return candidate
    key, low, high = next(each for each in space.ranges if each[1] or each[2])
    return weighted({key: min(high, space.step or high) if high > 0 else max(low, -(space.step or -low))})


def _subset_at(space: SubsetSpace, point: Point) -> Candidate:
    """The languages with the largest numbers: those near enough to the largest, within the allowed sizes."""
    ranked = sorted(space.pool, key=lambda key: (-point[key], space.pool.index(key)))
    most = point[ranked[0]] if ranked else 0.0
    if space.step:
        every = (*space.always, *ranked[: space.largest])
        shares = normalised([point[key] for key in every])
        kept = [key for key, part in zip(every, _on_grid(shares, space.step, 0), strict=True) if part > 0]
        count = sum(key not in space.always for key in kept)
    else:
        count = sum(point[key] >= _MEMBER * most for key in ranked[: space.largest])
    chosen = ranked[: max(space.smallest, count)]
    keys = (*space.always, *chosen)
    if not space.step:
        return weighted(dict.fromkeys(keys, 1.0 / len(keys)))
    weights = _on_grid(normalised([point[key] for key in keys]), space.step, 1)
    return weighted(dict(zip(keys, weights, strict=True)))


def _on_grid(shares: tuple[float, ...], step: float, least: int) -> tuple[float, ...]:
    if not step:
        return shares
    parts = parts_of(step)
    return tuple(count / parts for count in rounded(shares, parts, least))


def _stepped(value: float, low: float, high: float, step: float) -> float:
    if not step:
        return value
    return round(low + min(round((value - low) / step), int((high - low) / step + 1e-9)) * step, 12)
