"""The short run of the faults that need no cluster; `make chaos` meets them all, again and again."""

from __future__ import annotations

import json

import pytest

from tests.forks import as_module, ended, forked


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """One of each, in a process that forks its runs."""
    out = tmp_path_factory.mktemp("chaos")
    words = ["--only", "short", "--rounds", "1", "--seed", "3", "--steps", "6", "--json", str(out / "chaos.json")]
    ended(forked(as_module, "tests.chaos", *words, log=out / "log"), 280)
    assert (out / "chaos.json").exists(), (out / "log").read_text()[-3000:]
    return json.loads((out / "chaos.json").read_text())


def test_after_every_fault_the_end_is_that_of_an_undisturbed_run(outcomes):
    assert not [(one["fault"], one["problem"]) for one in outcomes["outcomes"] if one["problem"]]


def test_every_fault_was_met(outcomes):
    assert len({one["fault"] for one in outcomes["outcomes"]}) == 8
