"""What may be asked for: refused in words where it cannot be met."""

from pathlib import Path

import pytest

from jobs.errors import InputError
from orchestrator.campaign.load import load_campaign
from orchestrator.campaign.resources import ResourcesSection
from orchestrator.scheduling.capacity import bank_slots, worker_slots
from tests.orchestrator.small_campaign import write_campaign

NODES = [{"CPU": 4.0}, {"CPU": 4.0}]


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return write_campaign(tmp_path_factory.mktemp("campaign"))


def faults(file: Path, resources: str) -> str:
    changed = file.with_name("changed.yaml")
    changed.write_text(file.read_text().replace("{bank_size: 0, attempts: 2}", resources))
    with pytest.raises(InputError) as caught:
        load_campaign(changed)
    return str(caught.value)


def test_two_ranks_that_could_meet_on_one_gpu_are_refused(file):
    text = faults(file, "{workers_per_bank: 2, gpus_per_bank: 0.5}")
    assert "two of them could meet on one GPU" in text and "resources" in text


def test_sharding_without_workers_is_refused(file):
    assert "zero-3 needs several workers" in faults(file, "{sharding: zero-3}")


def test_deepspeed_settings_that_contradict_the_campaign_are_faults_with_their_line(file):
    text = faults(
        file,
        "{workers_per_bank: 2, sharding: zero-3, deepspeed: {gradient_clipping: 9, zero_optimization: {stage: 2}}}",
    )
    assert "changed.yaml" in text
    assert "gradient_clipping" in text and "zero_optimization.stage" in text


def test_deepspeed_settings_of_their_own_are_taken(file):
    changed = file.with_name("more.yaml")
    more = "{workers_per_bank: 2, deepspeed: {zero_optimization: {stage3_prefetch_bucket_size: 1000}}}"
    changed.write_text(file.read_text().replace("{bank_size: 0, attempts: 2}", more))
    assert load_campaign(changed).resources.workers_per_bank == 2


def test_a_bank_of_several_workers_takes_several_places():
    assert bank_slots(NODES, ResourcesSection()) == 8
    assert bank_slots(NODES, ResourcesSection(workers_per_bank=2)) == 4
    assert worker_slots(NODES, ResourcesSection(workers_per_bank=3), banks=2) == 2
