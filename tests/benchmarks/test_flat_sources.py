"""Flat sources: the same sums as `linear`, written in place, without allocating."""

from __future__ import annotations

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.flat_sources import FlatSources
from jobs.arithmetic.combine import linear
from jobs.errors import InputError

SHAPES = {"b": (70001,), "a": (3, 65537), "c": (2, 100_003), "d": (33,), "e": ()}


def state(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("weights", [[0.35, 0.65, -0.2], [1.0, 0.0, 0.0]])
def test_a_flat_merge_equals_the_linear_one_bit_for_bit(weights):
    sources = [state(seed) for seed in range(3)]
    merged = FlatSources(sources).merge(weights)
    expected = linear(sources, weights)
    assert list(merged) == sorted(SHAPES)
    assert all(torch.equal(merged[name], expected[name]) for name in SHAPES)


def test_bfloat16_sources_and_targets_are_rounded_once():
    sources = [state(seed, torch.bfloat16) for seed in range(3)]
    flat = FlatSources(sources)
    assert flat.matrix.dtype == torch.float32
    out = {name: torch.empty(shape, dtype=torch.bfloat16) for name, shape in SHAPES.items()}
    flat.write_merge([0.35, 0.65, -0.2], out)
    expected = linear(sources, [0.35, 0.65, -0.2])
    assert all(torch.equal(out[name], expected[name]) for name in SHAPES)


def test_the_layout_names_every_tensor_once_without_gaps():
    flat = FlatSources([state(1)])
    end = 0
    for name in sorted(SHAPES):
        slot = flat.layout[name]
        assert slot.offset == end
        assert slot.shape == SHAPES[name]
        end += slot.numel
    assert flat.matrix.shape == (1, end)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_merge_allocates_nothing_and_writes_into_the_given_memory(dtype):
    flat = FlatSources([state(seed) for seed in range(3)])
    out = {name: torch.empty(shape, dtype=dtype) for name, shape in SHAPES.items()}
    addresses = {name: tensor.data_ptr() for name, tensor in out.items()}
    flat.write_merge([0.5, 0.25, 0.25], out)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        flat.write_merge([0.1, 0.2, 0.7], out)
    allocated = sum(max(event.self_cpu_memory_usage, 0) for event in recorded.events())
    assert allocated == 0
    assert {name: tensor.data_ptr() for name, tensor in out.items()} == addresses


def test_parameters_of_a_model_can_be_written_in_place():
    layer = torch.nn.Linear(4, 3)
    sources = [{"weight": torch.randn(3, 4), "bias": torch.randn(3)} for _ in range(2)]
    FlatSources(sources).write_merge([0.5, 0.5], dict(layer.named_parameters()))
    torch.testing.assert_close(layer.weight.data, (sources[0]["weight"] + sources[1]["weight"]) / 2)


def test_targets_that_do_not_fit_are_refused_before_anything_is_written():
    flat = FlatSources([state(1)])
    out = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    with pytest.raises(InputError, match="one weight per source"):
        flat.write_merge([1.0, 2.0], out)
    with pytest.raises(InputError, match="differ from the sources'"):
        flat.write_merge([1.0], {"a": out["a"]})
    out["d"] = torch.zeros(34)
    with pytest.raises(InputError, match=r"d: a tensor to write does not fit"):
        flat.write_merge([1.0], out)
    assert all(not tensor.any() for tensor in out.values())


def test_sources_with_nan_are_refused():
    broken = state(1)
    broken["d"][3] = float("nan")
    with pytest.raises(InputError, match="NaN"):
        FlatSources([broken])
