"""The linear rules. Every one is a weighted sum of parameters; nothing is ever normalized.

Papers: language arithmetic, Klimaszewski et al., arXiv 2404.15737; language and task arithmetic, Chronopoulou
et al., arXiv 2311.09344 (equation numbers below are theirs); AdaMergeX with its baseline AriMerge, Zhao et al.,
arXiv 2402.18913.

Sources are mappings from tensor names to tensors of one layout (names, shapes, dtypes). Sums are taken in
float32 (float64 for float64 sources) in the order of the sources and rounded once to the sources' dtype. Every
function raises InputError, naming both sides, when layouts differ or a value is NaN or infinite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from jobs.arithmetic.checks import checked_weights, same_layout
from jobs.arithmetic.weighted_sum import weighted_sum
from jobs.errors import Fault, InputError

State = Mapping[str, Tensor]


def linear(
    sources: Sequence[State], weights: Sequence[float], labels: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """`sum_i weights[i] * sources[i]`: any number of sources, any sign, no normalization.

    `labels` are what error messages call the sources.
    """
    factors = checked_weights(weights, len(sources))
    names = same_layout(sources, labels)
    return {name: weighted_sum([source[name] for source in sources], factors, name) for name in names}


def base_weights(weights: Sequence[float]) -> list[float]:
    """Weights of `[base, *sources]` in the one sum that task arithmetic is; exact 0.0 when they sum to one."""
    rest = 1.0 - float(sum(weights))
    return [0.0 if abs(rest) < 1e-12 else rest, *weights]


def average_weights(count: int) -> list[float]:
    """`1/count` each. Raises InputError for no sources."""
    if count < 1:
        raise InputError(Fault("no sources to average", todo="give at least one"))
    return [1.0 / count] * count


def negate_b_weights(name: str, weights: Sequence[float]) -> list[float]:
    """The weights that `linear_negate_b` gives to the tensor `name`."""
    if "lora_B" in name or "lora_embedding_B" in name:
        return list(weights)
    if "lora_A" in name or "lora_embedding_A" in name:
        return [abs(weight) for weight in weights]
    raise InputError(Fault("linear_negate_b is defined for LoRA factors alone", name))
