"""A finished workspace that version 0.1 wrote, in workspace_of_0_1/: what users have is reused, read and built upon.

It stays as it is. Where identity changes on purpose (a job's version, the pinned babel, the embedded backbone), write
one of that day beside it, from a folder outside the repository, on a host called "laptop":

    adapterfleet run campaign.yaml --executor local --tracking off --workspace workspace

and keep artifacts, scores, index and events: no staging, checkpoints, tokenized texts, logs, locks or report.
"""

from __future__ import annotations

import json
import re
import shutil
from operator import eq
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.campaign.load import load_campaign
from orchestrator.lineage.tree import as_mermaid, as_plain, as_text, lineage_tree
from orchestrator.plan.pinned_references import References
from orchestrator.plan.plan import Plan, plan_campaign
from orchestrator.run import RunSettings, run_campaign
from orchestrator.store.artifacts import ArtifactStore

KEPT = Path(__file__).parent / "workspace_of_0_1"
WORKSPACE = KEPT / "workspace"
NAME = "of-0-1"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WORKSPACE, tmp_path / "ws"))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_campaign(load_campaign(KEPT / "campaign.yaml"), References(tmp_path / "digests"))


def ran(plan: Plan, workspace: Path):
    return run_campaign(plan, RunSettings(workspace, "local", tracking="off"), Console(quiet=True))


def states(summary) -> dict[str, int]:
    return {state: list(summary.states.values()).count(state) for state in set(summary.states.values())}


def test_every_step_is_reused_and_the_report_tells_the_scores(plan: Plan, workspace: Path) -> None:
    before = {record.key: record for record in ArtifactStore(workspace).records()}
    outcome = ran(plan, workspace)
    assert states(outcome.summary) == {"reused": len(plan.steps)} and not outcome.summary.errors
    assert {record.key: record for record in ArtifactStore(workspace).records()} == before
    assert {step.key for step in plan.steps} == set(before)
    page, text = outcome.report.html.read_text(), outcome.report.markdown.read_text()
    score = before[next(key for key in before if key.startswith("evaluation/gl-text-merge"))].metrics["mlm_loss"]
    assert f"{score:.3f}" in page and f"{score:.3f}" in text
    assert "Galician" in page and "laptop" in page


def test_the_kept_bytes_are_those_of_the_records() -> None:
    store = ArtifactStore(WORKSPACE)
    for record in store.records():
        store.verify(record)


def test_the_tree_of_a_merge_goes_down_to_corpora_and_backbone(workspace: Path) -> None:
    root = lineage_tree(ArtifactStore(workspace), "merge/gl-ner-s42")
    plain = json.dumps(as_plain(root))
    for kind in ("merge", "language-adapter", "initial-adapter", "task-adapter", "search", "corpus", "backbone"):
        assert f'"kind": "{kind}"' in plain
    assert as_mermaid(root).startswith("flowchart") and as_text(root).children


def test_its_adapters_score_as_they_did_and_its_kept_scores_are_found(plan: Plan, workspace: Path) -> None:
    store, kept = ArtifactStore(workspace), ArtifactStore(WORKSPACE)
    starts = ("evaluation/gl-ner-merge-s42", "evaluation/gl-text-merge-s42", "search/gl-text-en.es")
    tagged, text, search = (next(s for s in plan.steps if s.key.startswith(start)) for start in starts)
    for step in (tagged, text, search):
        shutil.rmtree(store.path(step.key))
    summary = ran(plan, workspace).summary
    assert states(summary) == {"reused": len(plan.steps) - 3, "succeeded": 3}
    for step in (text, search):
        assert summary.records[step.key].metrics == pytest.approx(kept.find(step).metrics, rel=1e-3)
    assert summary.records[search.key].details["cost"]["computed"] == 0
    was, now = ((place.path(tagged.key) / "predictions.jsonl").read_text().splitlines() for place in (kept, store))
    assert len(was) == len(now) and sum(map(eq, was, now)) > 0.8 * len(was)  # rounding may turn a tag


def test_it_names_no_machine_and_is_small() -> None:
    files = [file for file in WORKSPACE.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 400_000
    homes = re.compile(rb"/(?:ro" + rb"ot|wo" + rb"rk|ho" + rb"me|tmp)/")
    assert not [file.name for file in files if homes.search(file.read_bytes())]
    assert {record.provenance["host"] for record in ArtifactStore(WORKSPACE).records()} == {"laptop"}
