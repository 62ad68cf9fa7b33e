"""results.json against the records of the evaluations, which are read here by themselves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from orchestrator.report.write import write_report
from tests.orchestrator.synthetic_campaign import CAMPAIGN, make_workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("numbers") / "workspace").workspace


def results(workspace: Path) -> dict[str, Any]:
    folder = write_report(workspace, CAMPAIGN).html.parent

    def refused(text: str) -> None:
        raise AssertionError(f"not JSON: {text}")

    return dict(json.loads((folder / "results.json").read_text(encoding="utf-8"), parse_constant=refused))


def score(workspace: Path, key: str, metric: str) -> float:
    """What the evaluation of that key found."""
    record = json.loads((workspace / "artifacts" / key / "record.json").read_text(encoding="utf-8"))
    return float(record["metrics"][metric])


def test_scores_and_gains_are_those_of_the_records(workspace: Path) -> None:
    found = results(workspace)
    index = json.loads((workspace / "campaigns" / CAMPAIGN / "index.json").read_text(encoding="utf-8"))
    assert found["missing"] == 0 and len(found["comparisons"]) == len(index["comparisons"])
    for one, planned in zip(found["comparisons"], index["comparisons"], strict=True):
        for system, asked in zip(one["systems"], planned["systems"], strict=True):
            wanted = {seed: score(workspace, key, one["metric"]) for seed, key in asked["evaluations"].items()}
            assert system["by_seed"] == wanted and system["mean"] == pytest.approx(fmean(wanted.values()))
        ours = next(system for system in one["systems"] if system["role"] == "arithmetic")
        for gain in one["gains"]:
            theirs = next(system for system in one["systems"] if system["name"] == gain["over"])
            differences = [ours["by_seed"][seed] - theirs["by_seed"][seed] for seed in ours["by_seed"]]
            assert gain["value"] == pytest.approx(fmean(differences) * (1 if one["better"] == "higher" else -1))
            low, high = gain["interval"]
            assert low <= gain["value"] <= high and 0 < gain["p"] <= 1


def test_what_is_not_there_yet_is_null(workspace: Path, tmp_path: Path) -> None:
    other = shutil.copytree(workspace, tmp_path / "workspace")
    for record in other.glob("artifacts/evaluation/*/record.json"):
        record.unlink()
    found = results(other)
    assert found["missing"] > 0
    assert all(
        system["mean"] is None and not system["by_seed"] for c in found["comparisons"] for system in c["systems"]
    )
    assert all(not one["gains"] for one in found["comparisons"])
