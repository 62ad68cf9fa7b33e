"""The merge job: the winner of a search as one adapter directory."""

from __future__ import annotations

import json
import math
from pathlib import Path

from jobs.adapters.adapter import Adapter, Head, named
from jobs.adapters.formats import read_adapter, write_adapter
from jobs.adapters.loading_code import loaded_by_interface
from jobs.errors import Fault, InputError
from jobs.merging.mixture import BASE, mixed
from jobs.spec import JobCall, JobResult, MergeSpec, Mixture, mixture_role

WINNER = "winner.json"


def merge(call: JobCall[MergeSpec]) -> JobResult:
    """Write the winner's mixture of this seed's adapters into `call.output`, as an adapter called like the target.

    Inputs: `search` (its winner.json, see `read_winner`), `theta_pre` where the rule needs it, and the roles of the
    winner's keys. Raises InputError for missing inputs, a malformed winner, and adapters that do not fit each other.
    """
    spec = call.spec
    winner = read_winner(_input(call, "search"), spec.best_for, spec.pair, spec.single)
    sources = {key: read_adapter(_input(call, mixture_role(key, spec.seed))) for key, _ in winner.weights}
    base = read_adapter(call.inputs[BASE]) if BASE in call.inputs else None
    made = mixed(winner, sources, base, "merged")
    merged = _in_memory(made.adapter, spec.target)
    write_adapter(merged, call.output)
    squares = sum(float(tensor.double().square().sum()) for tensor in merged.tensors.values())
    weights = dict(winner.weights)
    metrics = {"norm": squares**0.5, **{f"weight_{key}": weight for key, weight in weights.items()}}
    details = {
        "weights": weights,
        "method": winner.method,
        "options": dict(winner.options),
        "parts": {part: dict(own) for part, own in winner.parts},
        "notes": list(made.notes),
        "largest_ratio": made.largest_ratio(),
        **loaded_by_interface(merged.config),
    }
    return JobResult(metrics, details={name: value for name, value in details.items() if value})


def _in_memory(adapter: Adapter, name: str) -> Adapter:
    """Every tensor computed once, under the target's name, which need not be a recipe's."""
    head = None if adapter.head is None else Head(adapter.head.config, dict(adapter.head.tensors))
    return named(adapter, name, dict(adapter.tensors), head)


def read_winner(search: Path, best_for: str = "", pair: tuple[str, ...] = (), single: bool = False) -> Mixture:
    """The winner in a search artifact: {"weights": {key: weight}}, with "method" and "options" unless task arithmetic.

    `best_for`: the best candidate for that objective of a joint search, likewise, from {"best_for": {name: ...}};
    `pair`: the best of that pair, from {"best_of": {"en+gl": ...}}; `single`: the best with one lambda.
    Raises InputError when it is missing or malformed.
    """
    path = search / WINNER
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        found = found["best_for"][best_for] if best_for else found["best_of"]["+".join(pair)] if pair else found
        found = found["single"] if single else found
        weights = tuple((str(key), float(weight)) for key, weight in found["weights"].items())
        parts = tuple((part, tuple(own.items())) for part, own in found.get("parts", {}).items())
        options = tuple(found.get("options", {}).items())
        winner = Mixture(weights, found.get("method", "task_arithmetic"), options, parts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        got = f"{type(error).__name__}: {error}"[:120]
        raise InputError(Fault("no readable winner of the search", str(path), got, "run the search again")) from error
    if not weights or not all(math.isfinite(weight) for _, weight in weights):
        raise InputError(Fault("a winner needs finite weights", str(path), str(dict(weights))))
    return winner


def _input(call: JobCall[MergeSpec], role: str) -> Path:
    if role not in call.inputs:
        raise InputError(Fault("an input is missing", call.name, role))
    return call.inputs[role]
