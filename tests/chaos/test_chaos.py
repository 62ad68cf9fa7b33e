"""The short run of the faults that need no cluster; `make chaos` meets them all, again and again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """One of each, in a process that forks its runs."""
    out = tmp_path_factory.mktemp("chaos")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", "tests.chaos", "--only", "short", "--rounds", "1", "--seed", "3", "--steps", "6"]
    answer = subprocess.run(
        [*command, "--json", str(out / "chaos.json")], capture_output=True, text=True, env=environment, check=False
    )
    assert (out / "chaos.json").exists(), answer.stderr[-3000:]
    return json.loads((out / "chaos.json").read_text())


def test_after_every_fault_the_end_is_that_of_an_undisturbed_run(outcomes):
    assert not [(one["fault"], one["problem"]) for one in outcomes["outcomes"] if one["problem"]]


def test_every_fault_was_met(outcomes):
    assert len({one["fault"] for one in outcomes["outcomes"]}) == 9
