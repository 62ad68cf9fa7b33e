"""AdaMergeX (Zhao et al., arXiv 2402.18913): the operators follow the adapter's structure.

`A[target, task] = A[source, task] (+) t * (A[target, reference] (-) A[source, reference])`. In the arguments,
`task_source` is the adapter of the task in the source language, the `reference` adapters those of the reference
task (language modelling) in both languages.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from jobs.arithmetic.checks import all_finite, same_layout
from jobs.arithmetic.combine import linear
from jobs.arithmetic.weighted_sum import accumulation_dtype, refuse_non_finite
from jobs.errors import Fault, InputError

State = Mapping[str, Tensor]
ROLES = ("task_source", "reference_target", "reference_source")


def adamergex_lora(task_source: State, reference_target: State, reference_source: State, t: float) -> dict[str, Tensor]:
    """LoRA, additive, on A and on B apart: `task + t * (target - source)`."""
    return linear([task_source, reference_target, reference_source], [1.0, t, -t], ROLES)


def adamergex_ia3(task_source: State, reference_target: State, reference_source: State, t: float) -> dict[str, Tensor]:
    """(IA)3, multiplicative, element-wise: `task * (t * (target / source - 1) + 1)`.

    Raises InputError when a value of `reference_source` is zero where it divides.
    """
    names = same_layout([task_source, reference_target, reference_source], ROLES)
    return {
        name: ia3_tensor(task_source[name], reference_target[name], reference_source[name], t, name) for name in names
    }


def ia3_tensor(task: Tensor, target: Tensor, source: Tensor, t: float, name: str) -> Tensor:
    """The same for one tensor, computed in float32 or float64, rounded once to the task's dtype."""
    wide = accumulation_dtype(task.dtype)
    for tensor in (task, target, source):
        all_finite(tensor, name)
    zeros = int((source == 0).sum())
    if zeros:
        todo = "the multiplicative rule divides by it; no result is defined"
        raise InputError(Fault("reference_source holds zeros", name, f"{zeros} of {source.numel()} values", todo))
    factor = (target.to(wide) / source.to(wide) - 1.0) * t + 1.0
    result = (task.to(wide) * factor).to(task.dtype)
    refuse_non_finite([task, result], name)
    return result


def adamergex_prefix(task: Tensor, target: Tensor, source: Tensor, t: float, name: str = "") -> Tensor:
    """Prefix tuning: `t * (target @ pinv(source)) @ task` for each matrix [virtual tokens, width] of the batch.

    All three have shape [blocks, virtual tokens, width]: one block for the keys and one for the values of each
    layer. UNVERIFIED: the rule is not in the paper's public code, and its text was not at hand; this is the form in
    which it is remembered (Moore-Penrose pseudo-inverse). With t = 1 and `target` equal to `source` of full row
    rank, the task's prefix comes back. Computed in float64, rounded once. Raises InputError for NaN or infinity.
    """
    for tensor in (task, target, source):
        all_finite(tensor, name)
    ratio = target.double() @ torch.linalg.pinv(source.double())
    result: Tensor = (ratio @ task.double()).mul_(t).to(task.dtype)
    refuse_non_finite([task, result], name)
    return result
