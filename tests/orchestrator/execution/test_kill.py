"""`kill -9` at any moment, then the same command: the same records and weights, no second copy, no stale lock."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.store.artifacts import ArtifactStore
from tests.orchestrator.same_results import content
from tests.orchestrator.small_campaign import write_campaign

ROOT = Path(__file__).parents[3]
MOMENTS = 6
SEED = 7


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    file = write_campaign(folder / "campaign", steps=30, bank_size=1)
    command = [sys.executable, str(Path(__file__).with_name("killed_runs.py")), str(file), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    answer = subprocess.run(
        [*command, str(MOMENTS), str(SEED)], capture_output=True, text=True, env=environment, check=False
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    facts = json.loads(answer.stdout)
    return folder / "calm", [folder / f"killed-{n}" for n in range(facts["workspaces"])], facts


def test_records_and_weights_are_those_of_an_undisturbed_run(killed):
    calm, disturbed, _ = killed
    expected = {record.key: content(record) for record in ArtifactStore(calm).records()}
    assert any(name.endswith(".safetensors") for *_, files in expected.values() for name in files)
    for workspace in disturbed:
        assert {record.key: content(record) for record in ArtifactStore(workspace).records()} == expected


def test_every_artifact_is_intact_and_there_once(killed):
    calm, disturbed, _ = killed
    wanted = {str(path.relative_to(calm)) for path in (calm / "artifacts").glob("*/*")}
    for workspace in disturbed:
        store = ArtifactStore(workspace)
        for record in store.records():
            store.verify(record)
        assert {str(path.relative_to(workspace)) for path in (workspace / "artifacts").glob("*/*")} == wanted
        assert not (workspace / "rejected").exists()
        assert not list((workspace / "staging").glob("*/*")) and not list((workspace / "checkpoints").glob("*/*"))


def test_some_kills_fell_into_training(killed):
    assert killed[2]["training"] > 0


def test_no_kill_leaves_a_lock(killed):
    _, _, facts = killed
    assert facts["stale"] == [False] * MOMENTS
