"""A whole campaign whose workspace is a bucket of a real S3 server: the records and files of a run in a directory."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from orchestrator.campaign.load import load_campaign
from orchestrator.plan.pinned_references import References
from orchestrator.plan.plan import plan_campaign
from orchestrator.run import RunSettings, run_campaign
from orchestrator.store.artifacts import open_store, workspace_path
from tests.orchestrator.same_results import content
from tests.orchestrator.small_campaign import write_campaign


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    # A bank of a stated size: one that is chosen by what is fastest gives the same weights up to rounding alone.
    return write_campaign(tmp_path_factory.mktemp("campaign"), steps=10, bank_size=3)


def run(file, place):
    workspace = workspace_path(place)
    plan = plan_campaign(load_campaign(file), References(workspace / "cache"))
    outcome = run_campaign(plan, RunSettings(workspace, "local", tracking="off"), Console(file=io.StringIO()))
    return outcome, open_store(workspace)


def test_a_campaign_in_a_bucket_gives_the_records_and_files_of_one_in_a_directory(file, s3, tmp_path, monkeypatch):
    bucket = "s3://fleet/small"
    monkeypatch.setenv("ADAPTERFLEET_SCRATCH", str(tmp_path / "scratch"))
    calm, directory = run(file, tmp_path / "calm")
    outcome, store = run(file, bucket)
    assert not outcome.summary.errors and not calm.summary.errors
    expected = {record.key: content(record) for record in directory.records()}
    assert {record.key: content(record) for record in store.records()} == expected

    monkeypatch.setenv("ADAPTERFLEET_SCRATCH", str(tmp_path / "another machine"))
    again, there = run(file, bucket)
    assert again.summary.count("reused") == len(expected)
    for record in there.records():
        there.verify(record)
    assert (there.root / "campaigns" / "small" / "report" / "index.html").is_file()
    assert not there.backend.bucket.list("checkpoints") and not there.backend.bucket.list("locks")
