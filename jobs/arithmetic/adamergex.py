"""AdaMergeX (Zhao et al., arXiv 2402.18913): the operators follow the adapter's structure.

`A[target, task] = A[source, task] (+) t * (A[target, reference] (-) A[source, reference])`. In the arguments,
`task_source` is the adapter of the task in the source language, the `reference` adapters those of the reference
task (language modelling) in both languages.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jobs.arithmetic.checks import all_finite
from jobs.arithmetic.weighted_sum import accumulation_dtype, refuse_non_finite
from jobs.errors import Fault, InputError


def ia3_tensor(task: Tensor, target: Tensor, source: Tensor, t: float, name: str) -> tuple[Tensor, float]:
    """(IA)3, multiplicative, element-wise: `task * (t * (target / source - 1) + 1)`; LoRA's rule is a weighted sum.

    Computed in float32 or float64, rounded once to the task's dtype. Beside it the largest |target / source|: a value
    of `source` near zero makes it, and the result with it, as large as one likes. Raises InputError when a value of
    `source` is zero where it divides.
    """
    wide = accumulation_dtype(task.dtype)
    for tensor in (task, target, source):
        all_finite(tensor, name)
    zeros = int((source == 0).sum())
    if zeros:
        todo = "the multiplicative rule divides by it; no result is defined"
        raise InputError(Fault("reference_source holds zeros", name, f"{zeros} of {source.numel()} values", todo))
    ratio = target.to(wide) / source.to(wide)
    result = (task.to(wide) * ((ratio - 1.0) * t + 1.0)).to(task.dtype)
    refuse_non_finite([task, result], name)
    return result, float(ratio.abs().max()) if ratio.numel() else 0.0


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
