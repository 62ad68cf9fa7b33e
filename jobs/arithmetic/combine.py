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


def task_vector(finetuned: State, base: State) -> dict[str, Tensor]:
    """`tau = theta_ft - theta_pre`."""
    return linear([finetuned, base], [1.0, -1.0], ["fine-tuned", "base"])


def task_arithmetic(base: State, sources: Sequence[State], weights: Sequence[float]) -> dict[str, Tensor]:
    """`theta_pre + sum_i weights[i] * (theta_i - theta_pre)`.

    Computed as one weighted sum with weight `1 - sum(weights)` on the base: with lambda and 1 - lambda, language
    arithmetic LA(a, b), the base drops out, as the paper notes.
    """
    if not sources:
        raise InputError(Fault("no sources", todo="give at least one"))
    factors = checked_weights(weights, len(sources))
    labels = ["base", *(f"source {index}" for index in range(len(sources)))]
    return linear([base, *sources], base_weights(factors), labels)


def base_weights(weights: Sequence[float]) -> list[float]:
    """Weights of `[base, *sources]` in the one sum that task arithmetic is; exact 0.0 when they sum to one."""
    rest = 1.0 - float(sum(weights))
    return [0.0 if abs(rest) < 1e-12 else rest, *weights]


def average(sources: Sequence[State]) -> dict[str, Tensor]:
    """Eq. 3: `(1/L) sum_i theta_i`."""
    return linear(sources, average_weights(len(sources)))


def average_weights(count: int) -> list[float]:
    """`1/count` each. Raises InputError for no sources."""
    if count < 1:
        raise InputError(Fault("no sources to average", todo="give at least one"))
    return [1.0 / count] * count


def add(task: State, language: State, weight: float) -> dict[str, Tensor]:
    """Eq. 1: `weight * task + (1 - weight) * language`."""
    return linear([task, language], [weight, 1.0 - weight], ["task", "language"])


def add_subtract(task: State, language_target: State, language_source: State, weight: float) -> dict[str, Tensor]:
    """Eq. 2: `weight * task + (1 - weight) * (language_target - language_source)`.

    Eq. 4 is the same with `average` of related sources as `task` and `language_source`.
    """
    return linear(
        [task, language_target, language_source],
        [weight, 1.0 - weight, weight - 1.0],
        ["task", "language_target", "language_source"],
    )


def arimerge(task_source: State, reference_target: State, reference_source: State, t: float) -> dict[str, Tensor]:
    """`task_source + t * (reference_target - reference_source)`, the same for every kind of adapter."""
    return linear(
        [task_source, reference_target, reference_source],
        [1.0, t, -t],
        ["task_source", "reference_target", "reference_source"],
    )


def linear_negate_b(sources: Sequence[State], weights: Sequence[float]) -> dict[str, Tensor]:
    """`linear`, but a negative weight negates LoRA's B factors alone and enters A by its magnitude.

    The subtraction of Zhang et al. 2023 (arXiv 2306.14870) for LoRA. Raises InputError when a tensor is no
    LoRA factor.
    """
    factors = checked_weights(weights, len(sources))
    result: dict[str, Tensor] = {}
    for name in same_layout(sources):
        result[name] = weighted_sum([source[name] for source in sources], negate_b_weights(name, factors), name)
    return result


def negate_b_weights(name: str, weights: Sequence[float]) -> list[float]:
    """The weights that `linear_negate_b` gives to the tensor `name`."""
    if "lora_B" in name or "lora_embedding_B" in name:
        return list(weights)
    if "lora_A" in name or "lora_embedding_A" in name:
        return [abs(weight) for weight in weights]
    raise InputError(Fault("linear_negate_b is defined for LoRA factors alone", name))
