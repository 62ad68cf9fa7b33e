"""A finished workspace that version 0.1 wrote, in workspace_of_0_1/: what users have is reused, read and built upon.

Since then the meaning of task adapters, searches, merges and evaluations has changed (`jobs.spec.JOBS`): their steps are
computed anew beside the old ones. Language adapters, which are what costs, are reused.

It stays as it is. Where identity changes on purpose (a job's version, the pinned babel, the embedded backbone), write
one of that day beside it, from a folder outside the repository, on a host called "laptop":

    adapterfleet run campaign.yaml --executor local --tracking off --workspace workspace

and keep artifacts, scores, index and events: no staging, checkpoints, tokenized texts, logs, locks or report.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.campaign.load import load_campaign
from orchestrator.lineage.tree import as_mermaid, as_plain, as_text, lineage_tree
from orchestrator.plan.pinned_references import References
from orchestrator.plan.plan import Plan, plan_campaign
from orchestrator.run import RunSettings, run_campaign
from orchestrator.search.earlier_searches import change_lines
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.explain import explain

KEPT = Path(__file__).parent / "workspace_of_0_1"
WORKSPACE = KEPT / "workspace"
NAME = "of-0-1"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WORKSPACE, tmp_path / "ws"))


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> Plan:
    return plan_campaign(load_campaign(KEPT / "campaign.yaml"), References(tmp_path_factory.mktemp("plan") / "digests"))


def ran(plan: Plan, workspace: Path):
    return run_campaign(plan, RunSettings(workspace, "local", tracking="off"), Console(quiet=True))


@pytest.fixture(scope="module")
def gone_on(plan: Plan, tmp_path_factory):
    """A workspace in which the same command was given again, and what came of it."""
    place = Path(shutil.copytree(WORKSPACE, tmp_path_factory.mktemp("gone-on") / "ws"))
    return place, ran(plan, place)


def states(summary) -> dict[str, int]:
    return {state: list(summary.states.values()).count(state) for state in set(summary.states.values())}


def reused(plan: Plan) -> set[str]:
    return {step.key for step in plan.steps if step.job in ("initial-adapter", "language-adapter")}


def test_language_adapters_are_reused_and_what_means_something_else_now_is_made_anew(plan: Plan, gone_on) -> None:
    workspace, outcome = gone_on
    before = {record.key: record for record in ArtifactStore(WORKSPACE).records()}
    assert reused(plan) == {step.key for step in plan.steps} & set(before)
    summary = outcome.summary
    assert {key for key, state in summary.states.items() if state == "reused"} == reused(plan) and not summary.errors
    assert states(summary) == {"reused": 3, "succeeded": len(plan.steps) - 3}
    after = {record.key: record for record in ArtifactStore(workspace).records()}
    assert {key: after[key] for key in before} == before  # nothing of the old is touched
    page, text = outcome.report.html.read_text(), outcome.report.markdown.read_text()
    score = after[next(s.key for s in plan.steps if s.key.startswith("evaluation/gl-text-merge"))].metrics["mlm_loss"]
    assert f"{score:.3f}" in page and f"{score:.3f}" in text
    assert "Galician" in page and "laptop" in page


def test_explain_and_plan_say_that_a_job_means_something_else(plan: Plan, workspace: Path) -> None:
    store = ArtifactStore(workspace)
    records = list(store.records())
    for step in plan.steps:
        found = explain(step, records)
        changed = {one.path: (one.before, one.now) for one in found.differences}
        if step.key in reused(plan):
            assert not changed
        elif found.record is None:
            assert step.spec.weights == ()  # no adapter at all: version 0.1 had no such baseline
        else:
            assert changed["version"] == (1, 2)
            assert all(path == "version" or path.startswith("inputs.") for path in changed)
    lines = change_lines(store, plan.steps)
    assert lines and all("how searches are made, version 1 -> 2" in line for line in lines)


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


def test_what_is_made_anew_scores_as_it_did_where_the_meaning_is_the_same(plan: Plan, gone_on) -> None:
    """Text is scored as ever, and language adapters are the same: searches and test scores agree."""
    kept = {record.name: record for record in ArtifactStore(WORKSPACE).records() if record.name.startswith("gl-text")}
    records = gone_on[1].summary.records
    compared = [step for step in plan.steps if step.job in ("evaluation", "search") and step.name in kept]
    compared = [step for step in compared if "best" not in step.name and "joint" not in step.name]
    assert {step.job for step in compared} == {"evaluation", "search"} and len(compared) > 3
    for step in compared:
        assert records[step.key].metrics == pytest.approx(kept[step.name].metrics, rel=1e-3), step.key


def test_scores_that_0_1_kept_are_not_taken(gone_on) -> None:
    searches = [record for record in gone_on[1].summary.records.values() if record.job == "search"]
    assert searches and all(record.details["computed"]["devices"] == ["cpu"] for record in searches)
    # Each candidate was computed once, by the joint search or by that of its own objective.
    assert sum(record.details["cost"]["computed"] for record in searches) >= 3
    assert all(set(record.details["computed"]["versions"]) >= {"tokenizers", "torch"} for record in searches)


def test_it_names_no_machine_and_is_small() -> None:
    files = [file for file in WORKSPACE.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 400_000
    homes = re.compile(rb"/(?:ro" + rb"ot|wo" + rb"rk|ho" + rb"me|tmp)/")
    assert not [file.name for file in files if homes.search(file.read_bytes())]
    assert {record.provenance["host"] for record in ArtifactStore(WORKSPACE).records()} == {"laptop"}
