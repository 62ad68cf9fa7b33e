from __future__ import annotations

import pytest
from sharded_fleet import ShardedFleet
from tiny_fleet import Fleet

from jobs.banks.parallelism import train_in_parallel
from jobs.banks.sharded.memory_model import Parallelism
from jobs.errors import InputError
from jobs.spec import no_progress
from jobs.training.data_parallel import DataParallel


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    return ShardedFleet(tmp_path_factory.mktemp("sharded"))


def test_what_fits_one_device_trains_plainly(fleet):
    outcomes = dict(train_in_parallel([fleet.call("aa", "plain")], no_progress, DataParallel(), Parallelism()))
    assert outcomes["aa"].metrics["optimizer_steps"] == 12
    assert (fleet.root / "plain" / "aa" / "output" / "adapter_model.safetensors").exists()


def test_what_fits_no_device_is_said_before_anything_is_trained(fleet):
    calls = [fleet.call("bb", "none"), fleet.call("cc", "none")]
    outcomes = dict(train_in_parallel(calls, no_progress, DataParallel(), Parallelism(device_bytes=1 << 15)))
    assert all(isinstance(one, InputError) and "does not fit" in str(one) for one in outcomes.values())
    assert not any(call.checkpoint.exists() for call in calls)


def test_zero_is_for_lora_on_decoders(tmp_path):
    call = Fleet(tmp_path).call("dd")
    outcome = dict(train_in_parallel([call], no_progress, DataParallel(), Parallelism("zero-3")))["dd"]
    assert isinstance(outcome, InputError) and "zero-3 trains LoRA on decoders" in str(outcome)
