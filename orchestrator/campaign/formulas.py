"""Where two methods of a comparison are one formula: then their columns agree, and their difference is no evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from jobs.merging.recipe import DELTA_BY_DEFAULT, FITTING
from orchestrator.campaign.methods import Method, parse_line

_ANY = ("space", "operators")

Formula = tuple[object, ...]


def same_formulas(methods: Sequence[Method], kind: str, space: str | None) -> Iterator[tuple[Method, Method]]:
    """Pairs of methods that make the same adapter of the same adapters at every lambda.

    `kind`: of the adapters, as the campaign calls it; `space`: the comparison's.
    """
    for one, other in combinations(methods, 2):
        if one.asked == other.asked and formula(one, kind, space) == formula(other, kind, space):
            yield one, other


def formula(method: Method, kind: str, space: str | None) -> Formula:
    """What a method computes, whatever it is called: operation, space, weights, options, lambdas."""
    options = dict(method.options)
    lines = tuple(sorted((key, parse_line(text)) for key, text in method.weights))
    operation: str = method.rule
    place = "parameters"
    if method.rule == "adamergex":
        asked = str(options.get("operators", "fitting"))
        operation = asked if asked != "fitting" else FITTING.get(kind, "add")
    elif method.rule in ("arimerge", "linear") or _sums_to_one(method):
        operation = "add"
    if kind in ("lora", "kronecker"):
        place = str(options.get("space") or space or ("delta" if method.rule in DELTA_BY_DEFAULT else "factors"))
    rest = tuple(sorted((name, str(value)) for name, value in options.items() if name not in _ANY))
    return operation, place, lines, rest, method.lambdas


def _sums_to_one(method: Method) -> bool:
    """Task arithmetic in which theta_pre drops out at every lambda."""
    lines = [parse_line(text) for _, text in method.weights]
    constant, slope = sum(line.constant for line in lines), sum(line.slope for line in lines)
    return method.rule == "task_arithmetic" and abs(constant - 1.0) < 1e-9 and abs(slope) < 1e-9
