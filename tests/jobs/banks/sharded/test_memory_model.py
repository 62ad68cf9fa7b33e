from __future__ import annotations

import pytest

from jobs.banks.sharded.memory_model import Load, ModelSize, check_workers, choose, memory
from jobs.errors import InputError

# Llama 2 7B with LoRA r=4 on q and v.
SEVEN_B = ModelSize(parameters=6_738_415_616, trainable=2_097_152, layers=32, hidden=4096, vocabulary=32_000)
GIB = 2**30


def load(workers: int, rows: int = 1, length: int = 1024) -> Load:
    return Load(weight_bytes=2, rows=rows, length=length, workers=workers)


def test_seven_billion_parameters_fit_one_device_of_24_gib_with_lora():
    assert choose(SEVEN_B, load(1), 24 * GIB) == "none"
    assert choose(SEVEN_B, load(2), 24 * GIB) == "ddp"


def test_a_backbone_that_fits_no_device_is_divided_among_them():
    assert choose(SEVEN_B, load(8), 12 * GIB) == "zero-3"
    assert memory(SEVEN_B, load(8), "zero-3") < memory(SEVEN_B, load(4), "zero-3") < memory(SEVEN_B, load(4), "ddp")


def test_a_large_adapter_on_a_backbone_that_fits_needs_its_own_state_divided_alone():
    large = ModelSize(1_000_000_000, 800_000_000, 16, 2048, 32_000)
    assert choose(large, load(4), 12 * GIB) == "zero-2"


def test_what_fits_nowhere_is_said_before_it_starts_with_sizes():
    with pytest.raises(InputError, match=r"does not fit.*ddp \d+\.\d GiB.*zero-3 \d+\.\d GiB of 6\.8 GiB usable"):
        choose(SEVEN_B, load(2), 8 * GIB)


def test_a_wish_is_followed_or_refused():
    assert choose(SEVEN_B, load(2), 40 * GIB, "zero-3") == "zero-3"
    with pytest.raises(InputError, match="does not fit"):
        choose(SEVEN_B, load(2), 12 * GIB, "ddp")


@pytest.mark.parametrize(
    ("sharding", "workers", "says"),
    [("zero-3", 1, "needs several workers"), ("ddp", 1, "needs several workers"), ("none", 2, "are DDP")],
)
def test_sharding_and_workers_that_contradict_each_other_are_refused(sharding, workers, says):
    with pytest.raises(InputError, match=says):
        check_workers(sharding, workers)
    check_workers("auto", workers)
