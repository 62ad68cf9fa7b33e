"""The merge job: the winner of a search as one adapter directory."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from jobs.adapters.adapterhub import read_adapter, write_adapter
from jobs.adapters.bottleneck import named
from jobs.arithmetic.combine import task_arithmetic
from jobs.errors import Fault, InputError
from jobs.job import JobCall, JobResult
from jobs.spec import MergeSpec

WINNER = "winner.json"


def merge(call: JobCall) -> JobResult:
    """Write theta_pre + sum of w_i (theta_i - theta_pre) with the winner's weights into `call.output`.

    An AdapterHub directory of an adapter called like the target, which plain `adapters` loads. Inputs:
    `search` (its winner.json: {"weights": {code: weight}}), `theta_pre`, `language:<code>@<seed>`. Raises
    InputError for missing inputs, a malformed winner, and adapters that do not fit each other.
    """
    spec = call.spec
    assert isinstance(spec, MergeSpec)
    weights = read_winner(_input(call, "search"))
    base = read_adapter(_input(call, "theta_pre"))
    sources = [read_adapter(_input(call, f"language:{code}@{spec.seed}")) for code in weights]
    tensors = task_arithmetic(base.tensors, [source.tensors for source in sources], list(weights.values()))
    write_adapter(named(sources[0], spec.target, tensors), call.output)
    squares = sum(float(tensor.double().square().sum()) for tensor in tensors.values())
    metrics = {"norm": squares**0.5, **{f"weight_{code}": weight for code, weight in weights.items()}}
    return JobResult(metrics, details={"weights": weights, "method": spec.method})


def read_winner(search: Path) -> dict[str, float]:
    """Language code -> weight of a search artifact's winner. Raises InputError when it is missing or malformed."""
    path = search / WINNER
    try:
        weights = json.loads(path.read_text(encoding="utf-8"))["weights"]
        winner = {str(code): float(weight) for code, weight in weights.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        got = f"{type(error).__name__}: {error}"[:120]
        raise InputError(Fault("no readable winner of the search", str(path), got, "run the search again")) from error
    if not winner or not all(torch.isfinite(torch.tensor(list(winner.values())))):
        raise InputError(Fault("a winner needs finite weights", str(path), str(winner)))
    return winner


def _input(call: JobCall, role: str) -> Path:
    if role not in call.inputs:
        raise InputError(Fault("an input is missing", call.name, role))
    return call.inputs[role]
