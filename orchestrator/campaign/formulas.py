"""Where two methods of a comparison are one formula: then their columns agree, and their difference is no evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from jobs.spec import AdapterConfig, Ia3Config, LokrConfig, LoraConfig, PrefixConfig
from orchestrator.campaign.methods import Method, parse_line

# AdaMergeX's operators by kind of adapter (arXiv 2402.18913): plus and minus, times and divided by, matrix products.
_FITTING: dict[type, str] = {LoraConfig: "sum", Ia3Config: "product", PrefixConfig: "matrix product"}
# Rules that are defined on a low-rank adapter's factors; sums are taken of delta W unless `space` says otherwise.
_ON_FACTORS = ("adamergex", "arimerge", "linear_negate_b", "ties", "dare", "slerp")
_ANY = ("space", "operators")

Formula = tuple[object, ...]


def same_formulas(
    methods: Sequence[Method], adapter: AdapterConfig, space: str | None
) -> Iterator[tuple[Method, Method]]:
    """Pairs of methods that make the same adapter of the same adapters at every lambda; `space`: the comparison's."""
    for one, other in combinations(methods, 2):
        asked = one.asked == other.asked
        if asked and formula(one, adapter, space) == formula(other, adapter, space):
            yield one, other


def formula(method: Method, adapter: AdapterConfig, space: str | None) -> Formula:
    """What a method computes, whatever it is called: operation, space, weights, options, lambdas."""
    options = dict(method.options)
    lines = tuple(sorted((key, parse_line(text)) for key, text in method.weights))
    operation: str = method.rule
    place = "parameters"
    if method.rule == "adamergex":
        operators = str(options.get("operators", "fitting"))
        named = {"add": "sum", "multiply": "product"}
        operation = named.get(operators) or _FITTING.get(type(adapter), "sum")
    elif method.rule in ("arimerge", "linear") or _sums_to_one(method):
        operation = "sum"
    if isinstance(adapter, LoraConfig | LokrConfig):
        place = str(options.get("space") or space or ("factors" if method.rule in _ON_FACTORS else "delta"))
    rest = tuple(sorted((name, str(value)) for name, value in options.items() if name not in _ANY))
    return operation, place, lines, rest, method.lambdas


def _sums_to_one(method: Method) -> bool:
    """Task arithmetic in which theta_pre drops out at every lambda."""
    lines = [parse_line(text) for _, text in method.weights]
    constant, slope = sum(line.constant for line in lines), sum(line.slope for line in lines)
    return method.rule == "task_arithmetic" and abs(constant - 1.0) < 1e-9 and abs(slope) < 1e-9
