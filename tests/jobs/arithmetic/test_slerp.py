"""Spherical interpolation: the arc, its ends and its limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from jobs.arithmetic.slerp import slerp, slerp_tensor
from jobs.errors import InputError


def test_a_quarter_turn_is_walked_at_constant_speed():
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    for t in (0.0, 0.25, 0.5, 0.9, 1.0):
        expected = torch.tensor([math.cos(t * math.pi / 2), math.sin(t * math.pi / 2)])
        torch.testing.assert_close(slerp_tensor(x, y, t), expected)


def test_it_equals_the_formula_in_numpy():
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(4, 6)), rng.normal(size=(4, 6)) * 3
    angle = np.arccos(np.sum(one * two) / np.linalg.norm(one) / np.linalg.norm(two))
    expected = np.sin(0.7 * angle) / np.sin(angle) * one + np.sin(0.3 * angle) / np.sin(angle) * two
    merged = slerp({"w": torch.from_numpy(one)}, {"w": torch.from_numpy(two)}, 0.3)
    np.testing.assert_allclose(merged["w"].numpy(), expected, rtol=1e-12)


def test_parallel_and_zero_tensors_are_interpolated_linearly():
    one = torch.tensor([1.0, 2.0])
    torch.testing.assert_close(slerp_tensor(one, 3 * one, 0.5), 2 * one)
    torch.testing.assert_close(slerp_tensor(one, torch.zeros(2), 0.25), 0.75 * one)


def test_opposite_tensors_and_a_t_off_the_arc_are_refused():
    one = torch.tensor([1.0, 2.0])
    with pytest.raises(InputError, match="opposite"):
        slerp_tensor(one, -one, 0.5, "w")
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        slerp({"w": one}, {"w": one}, 1.5)
