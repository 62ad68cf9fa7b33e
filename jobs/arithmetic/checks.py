"""Are these sources tensors of one and the same layout? Every difference is named, with both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from jobs.arithmetic.tensors import TensorSpec, specs_of
from jobs.arithmetic.weighted_sum import accumulation_dtype, refuse_non_finite
from jobs.errors import Fault, InputError, raise_all

_SHOWN = 5


def source_labels(count: int, labels: Sequence[str] | None = None) -> tuple[str, ...]:
    """`labels`, or `source 0`, `source 1` ... Raises InputError when their number is not `count`."""
    if labels is None:
        return tuple(f"source {index}" for index in range(count))
    if len(labels) != count:
        raise InputError(Fault("one label per source is needed", got=f"{len(labels)} labels, {count} sources"))
    return tuple(labels)


def same_layout(sources: Sequence[Mapping[str, Tensor]], labels: Sequence[str] | None = None) -> dict[str, TensorSpec]:
    """The specs that all sources share, by sorted name.

    Raises InputError with every missing or extra tensor, shape and dtype that differs from the first source.
    """
    if not sources:
        raise InputError(Fault("no sources", todo="give at least one"))
    names = source_labels(len(sources), labels)
    first = specs_of(sources[0])
    faults: list[Fault] = []
    for label, source in zip(names[1:], sources[1:], strict=True):
        faults += _differences(first, specs_of(source), names[0], label)
    raise_all(faults)
    return dict(sorted(first.items()))


def _differences(
    first: Mapping[str, TensorSpec], other: Mapping[str, TensorSpec], first_label: str, label: str
) -> list[Fault]:
    faults = [
        *_one_sided(set(first) - set(other), f"in {first_label} but not in {label}"),
        *_one_sided(set(other) - set(first), f"in {label} but not in {first_label}"),
    ]
    for name in sorted(set(first) & set(other)):
        if first[name].shape != other[name].shape:
            got = f"{list(first[name].shape)} in {first_label}, {list(other[name].shape)} in {label}"
            faults.append(Fault("shapes differ", name, got))
        elif first[name].dtype != other[name].dtype:
            got = f"{first[name].dtype} in {first_label}, {other[name].dtype} in {label}"
            faults.append(Fault("dtypes differ", name, got, "convert one of them"))
    return faults


def _one_sided(names: set[str], where: str) -> list[Fault]:
    if not names:
        return []
    shown = ", ".join(sorted(names)[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [Fault(f"{len(names)} tensors are {where}", got=shown + more)]


def checked_weights(weights: Sequence[float], count: int) -> list[float]:
    """`weights` as floats. Raises InputError unless there are `count` of them and all are finite."""
    if len(weights) != count:
        raise InputError(Fault("one weight per source is needed", got=f"{len(weights)} weights, {count} sources"))
    values = [float(weight) for weight in weights]
    if not all(torch.isfinite(torch.tensor(values, dtype=torch.float64))):
        raise InputError(Fault("weights must be finite", got=str(values)))
    return values


def checked_share(value: float, name: str) -> float:
    """`value` when it lies in (0, 1], as densities and the like must. Raises InputError otherwise."""
    if not 0.0 < value <= 1.0:
        raise InputError(Fault(f"{name} must lie in (0, 1]", got=str(value)))
    return float(value)


def result_finite(tensor: Tensor, name: str) -> None:
    """Raise InputError when a result, of finite sources, does not fit into its dtype."""
    if not _has_finite_sum(tensor):
        refuse_non_finite([torch.zeros(0), tensor], name)


def all_finite(tensor: Tensor, name: str) -> None:
    """Raise InputError when `tensor` holds NaN or infinity."""
    if not _has_finite_sum(tensor):
        refuse_non_finite([tensor], name)


def _has_finite_sum(tensor: Tensor) -> bool:
    """A sum is finite unless a value is not, or the sum itself overflows: then every value is to be looked at."""
    return not tensor.numel() or bool(torch.isfinite(tensor.sum(dtype=accumulation_dtype(tensor.dtype))))
