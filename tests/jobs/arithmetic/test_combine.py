"""The linear rules against numpy, and the algebra they must obey."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.arithmetic.combine import base_weights, linear, negate_b_weights
from jobs.errors import InputError

SHAPES = {"down.weight": (3, 5), "down.bias": (3,), "up.weight": (5, 3), "scale": ()}
WEIGHTS = st.floats(-3, 3, allow_nan=False, width=32)


def state(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()}


def exact(sources: list[dict[str, torch.Tensor]], weights: list[float]) -> dict[str, np.ndarray]:
    """The same sum in numpy, in double precision."""
    return {
        name: sum(w * source[name].double().numpy() for w, source in zip(weights, sources, strict=True))
        for name in SHAPES
    }


def assert_close(merged: dict[str, torch.Tensor], expected: dict[str, np.ndarray], tolerance: float = 1e-6) -> None:
    assert merged.keys() == expected.keys()
    for name, tensor in merged.items():
        np.testing.assert_allclose(tensor.double().numpy(), expected[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("weights", [[0.35, 0.65], [1.0, -1.0], [2.0, 3.0], [0.0, 0.0], [-0.3, 0.1]])
def test_a_linear_merge_is_the_weighted_sum_and_is_never_normalized(weights):
    sources = [state(1), state(2)]
    assert_close(linear(sources, weights), exact(sources, weights))


def test_any_number_of_sources_may_be_summed():
    sources = [state(seed) for seed in range(9)]
    weights = [0.1 * seed - 0.4 for seed in range(9)]
    assert_close(linear(sources, weights), exact(sources, weights))
    assert_close(linear(sources[:1], [0.7]), exact(sources[:1], [0.7]))


def test_task_arithmetic_is_one_sum_in_which_the_base_has_what_is_left():
    base, one, two = state(0), state(1), state(2)
    merged = linear([base, one, two], base_weights([0.4, 0.9]))
    expected = {
        n: base[n].double().numpy()
        + 0.4 * (one[n] - base[n]).double().numpy()
        + 0.9 * (two[n] - base[n]).double().numpy()
        for n in SHAPES
    }
    assert_close(merged, expected)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.55, 1.0])
def test_language_arithmetic_with_weights_summing_to_one_does_not_depend_on_the_base(share):
    assert base_weights([share, 1 - share])[0] == 0.0


def test_a_negative_weight_negates_b_alone_when_that_is_asked_for():
    assert negate_b_weights("q.lora_A", [1.0, -0.5]) == [1.0, 0.5]
    assert negate_b_weights("q.lora_B", [1.0, -0.5]) == [1.0, -0.5]
    with pytest.raises(InputError, match="LoRA factors alone"):
        negate_b_weights("scale", [1.0])


def test_bfloat16_sources_are_summed_in_float32_and_rounded_once():
    # 256 + 1 + 1 in bfloat16 steps stays 256 (spacing 2, ties to even); in float32 it is 258, which bfloat16 holds.
    sources = [{"w": torch.full((4,), value, dtype=torch.bfloat16)} for value in (256.0, 1.0, 1.0)]
    merged = linear(sources, [1.0, 1.0, 1.0])
    assert merged["w"].dtype == torch.bfloat16
    assert merged["w"].tolist() == [258.0] * 4
    stepwise = sources[0]["w"] + sources[1]["w"] + sources[2]["w"]
    assert stepwise.tolist() == [256.0] * 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_every_float_dtype_keeps_its_dtype_and_is_rounded_once(dtype):
    sources = [state(1, dtype), state(2, dtype), state(3, dtype)]
    weights = [0.35, -0.2, 1.7]
    merged = linear(sources, weights)
    for name in SHAPES:
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        total = sources[0][name].to(wide) * weights[0]
        for source, weight in zip(sources[1:], weights[1:], strict=True):
            total = torch.add(total, source[name].to(wide), alpha=weight)
        assert torch.equal(merged[name], total.to(dtype))


def test_tensors_larger_than_a_chunk_are_summed_like_small_ones():
    sources = [{"w": torch.randn(400_003)} for _ in range(3)]
    expected = sum(w * s["w"].double() for w, s in zip([0.5, -1.5, 0.25], sources, strict=True))
    torch.testing.assert_close(linear(sources, [0.5, -1.5, 0.25])["w"].double(), expected, rtol=1e-5, atol=1e-6)


@given(a=WEIGHTS, b=WEIGHTS, c=WEIGHTS)
@settings(max_examples=50, deadline=None)
def test_merging_is_linear_in_the_weights_and_free_of_order(a, b, c):
    one, two, three = state(1), state(2), state(3)
    merged = linear([one, two, three], [a, b, c])
    shuffled = linear([three, one, two], [c, a, b])
    nested = linear([linear([one, two], [a, b]), three], [1.0, c])
    for name in SHAPES:
        torch.testing.assert_close(merged[name], shuffled[name], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(merged[name], nested[name], rtol=1e-5, atol=1e-5)


@given(weight=WEIGHTS)
@settings(max_examples=30, deadline=None)
def test_adding_and_subtracting_the_same_adapter_changes_nothing(weight):
    one, two = state(1), state(2)
    merged = linear([one, two, two], [1.0, weight, -weight])
    back = linear([linear([one, two], [1.0, weight]), two], [1.0, -weight])
    for name in SHAPES:
        torch.testing.assert_close(merged[name], one[name], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(back[name], one[name], rtol=1e-5, atol=1e-5)


def test_weight_one_gives_the_source_back_bit_for_bit():
    one = state(1)
    one["scale"] = torch.tensor(-0.0)
    merged = linear([one], [1.0])
    for name in SHAPES:
        assert torch.equal(merged[name].view(torch.int32), one[name].view(torch.int32))


def test_the_task_vector_added_to_its_base_is_the_adapter():
    base, tuned = state(0), state(1)
    restored = linear([base, linear([tuned, base], [1.0, -1.0])], [1.0, 1.0])
    for name in SHAPES:
        torch.testing.assert_close(restored[name], tuned[name], rtol=1e-6, atol=1e-6)


def test_sources_are_not_changed():
    one, two = state(1), state(2)
    linear([one, two], [0.5, 0.5])
    for name in SHAPES:
        assert torch.equal(one[name], state(1)[name])
        assert torch.equal(two[name], state(2)[name])


def test_missing_and_extra_tensors_are_refused_naming_both_sides():
    one, two = state(1), state(2)
    del two["scale"]
    two["new"] = torch.zeros(2)
    with pytest.raises(InputError) as error:
        linear([one, two], [0.5, 0.5], ["en", "pt"])
    text = str(error.value)
    assert "in en but not in pt (got scale)" in text
    assert "in pt but not in en (got new)" in text


def test_shapes_and_dtypes_that_differ_are_refused_naming_both_sides():
    one, two = state(1), state(2)
    two["down.bias"] = torch.zeros(4)
    two["up.weight"] = two["up.weight"].half()
    with pytest.raises(InputError) as error:
        linear([one, two], [0.5, 0.5], ["en", "pt"])
    text = str(error.value)
    assert "down.bias: shapes differ (got [3] in en, [4] in pt)" in text
    assert "up.weight: dtypes differ (got torch.float32 in en, torch.float16 in pt)" in text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_refused_with_their_source(value):
    one, two = state(1), state(2)
    two["up.weight"][1, 1] = value
    with pytest.raises(InputError, match=r"up\.weight: source 1 has NaN or infinite values"):
        linear([one, two], [0.5, 0.0])


def test_a_result_that_overflows_is_refused():
    one = {"w": torch.full((3,), 60000.0, dtype=torch.float16)}
    with pytest.raises(InputError, match="overflows"):
        linear([one, one], [1.0, 1.0])


@pytest.mark.parametrize(
    ("sources", "weights", "reason"),
    [([], [], "no sources"), ([{}], [1.0, 2.0], "one weight per source"), ([{}], [float("nan")], "finite")],
)
def test_senseless_arguments_are_refused(sources, weights, reason):
    with pytest.raises(InputError, match=reason):
        linear(sources, weights)


def test_integer_tensors_are_refused():
    with pytest.raises(InputError, match="tensors of this dtype cannot be combined .got int64"):
        linear([{"w": torch.ones(3, dtype=torch.int64)}], [1.0])
