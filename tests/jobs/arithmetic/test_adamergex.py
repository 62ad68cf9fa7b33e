"""AdaMergeX: the operators of each structure, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.arithmetic.adamergex import adamergex_prefix, ia3_tensor
from jobs.errors import InputError


def vectors(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator) + 0.5


@pytest.mark.parametrize("t", [0.0, 0.5, 1.0, -0.7])
def test_ia3_is_multiplicative(t):
    task, target, source = (vectors(s, 6, 1) for s in (1, 2, 3))
    merged, ratio = ia3_tensor(task, target, source, t, "l")
    assert ratio == pytest.approx(max(abs(a / b) for a, b in zip(target.flatten(), source.flatten(), strict=True)))
    expected = task.numpy() * (t * (target.numpy() / source.numpy() - 1) + 1)
    np.testing.assert_allclose(merged.numpy(), expected, rtol=1e-6)


def test_ia3_refuses_to_divide_by_zero():
    task, target, source = (vectors(s, 4) for s in (1, 2, 3))
    source[2] = 0.0
    with pytest.raises(InputError, match=r"l: reference_source holds zeros \(got 1 of 4 values\)"):
        ia3_tensor(task, target, source, 0.5, "l")


@given(t=st.floats(-2, 2))
@settings(max_examples=30, deadline=None)
def test_equal_reference_adapters_leave_the_task_adapter_as_it_is(t):
    task, reference = vectors(1, 7), vectors(2, 7)
    torch.testing.assert_close(ia3_tensor(task, reference, reference, t, "l")[0], task)


def test_a_prefix_is_multiplied_by_the_ratio_of_the_references():
    task, target, source = (vectors(s, 4, 3, 8) for s in (1, 2, 3))
    merged = adamergex_prefix(task, target, source, 0.7)
    for block in range(4):
        ratio = target[block].double().numpy() @ np.linalg.pinv(source[block].double().numpy())
        np.testing.assert_allclose(merged[block].numpy(), 0.7 * ratio @ task[block].double().numpy(), rtol=1e-5)


def test_equal_reference_prefixes_of_full_rank_give_the_task_prefix_back():
    task, reference = vectors(1, 4, 3, 8), vectors(2, 4, 3, 8)
    torch.testing.assert_close(adamergex_prefix(task, reference, reference, 1.0), task, rtol=1e-5, atol=1e-5)
