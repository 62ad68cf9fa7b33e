"""One merge for several targets and tasks: planned, run, merged, tested, reported; and what such a file may get wrong."""

from statistics import fmean

import pytest
from typer.testing import CliRunner

from jobs.errors import InputError
from jobs.spec import MergeSpec
from jobs.spec.identity import canonical_json
from orchestrator.campaign.load import load_campaign
from orchestrator.cli.app import app
from orchestrator.execution.local import LocalExecutor
from orchestrator.execution.loop import execute
from orchestrator.lineage.model_card import write_card
from orchestrator.plan.index import write_index
from orchestrator.plan.pinned_references import References
from orchestrator.plan.plan import plan_campaign
from orchestrator.report.write import write_report
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.layout import campaign_folder
from tests.orchestrator.campaign_files import planned as planned_only
from tests.orchestrator.small_campaign import write_campaign

SINGLE = "{name: zero-shot, kind: zero-shot, targets: [gl], tasks: [text, ner], related: {by: syntactic, top: 1}}"
JOINT = "{name: both, kind: joint, targets: [gl], tasks: [text, ner], related: {by: syntactic, top: 2}}"
THREE = "{name: three, kind: joint, targets: [gl, pt], tasks: [text, ner], choose: worst, related: {by: syntactic}}"


def plan_of(folder, *comparisons):
    text = (folder / "campaign.yaml").read_text(encoding="utf-8")
    text = text.replace(f"  - {SINGLE}\n", "".join(f"  - {one}\n" for one in comparisons))
    file = folder / "joint.yaml"
    file.write_text(text, encoding="utf-8")
    return plan_campaign(load_campaign(file), References(folder / "cache"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("joint")
    write_campaign(folder, steps=4)
    assert SINGLE in (folder / "campaign.yaml").read_text(encoding="utf-8")
    plan, store = plan_of(folder, JOINT, THREE), ArtifactStore(folder / "workspace")
    summary = execute(plan.steps, store, LocalExecutor(), lambda event: None, {}, write_card)
    assert not summary.errors
    write_index(plan, campaign_folder(store.root, "small"))
    return folder, plan, store


def test_one_search_scores_every_candidate_for_every_objective_and_one_merge_is_tested_on_all(finished):
    _, plan, store = finished
    text, ner = (c for c in plan.comparisons if c.section.name == "both")
    assert text.search is ner.search and text.merges == ner.merges
    details = store.find(text.search).details
    assert [one["name"] for one in details["objectives"]] == ["text/gl", "ner/gl"]
    assert all(set(row["objectives"]) == {"text/gl", "ner/gl"} for row in details["candidates"])
    merge = store.find(text.merges[0][1])
    assert merge.details["weights"] == details["winner"]["weights"]
    for comparison in (text, ner):
        assert [system.name for system in comparison.systems] == ["mean", "best", "proxy:en", "arithmetic"]
        for system in comparison.systems:
            assert all(store.find(step) for _, step in system.evaluations)
        (_, evaluation) = comparison.systems[1].evaluations[0]
        best = store.find(dict(evaluation.inputs)["merge"])
        name = f"{comparison.task.name}/gl"
        assert best.details["weights"] == details["best_for"][name]["weights"]
    card = (store.path(text.merges[0][1].key) / "README.md").read_text(encoding="utf-8")
    assert "for all of these at once" in card and "validation f1 of ner/gl" in card


def test_the_winner_is_the_one_of_least_regret_and_lies_on_the_front(finished):
    _, plan, store = finished
    details = store.find(plan.comparisons[0].search).details
    rows, default = details["candidates"], details["default"]

    def error(row, name):
        mean = row["objectives"][name]["mean"]
        return mean if name.startswith("text") else 100 - mean

    names = ["text/gl", "ner/gl"]
    best = {name: min(error(row, name) for row in rows) for name in names}
    lost = [max((error(row, name) - best[name]) / error(default, name) for name in names) for row in rows]
    for row, value in zip(rows, lost, strict=True):
        assert row["mean"] == pytest.approx(-value)
    assert details["winner"]["mean"] == pytest.approx(-min(lost))
    assert rows.index(details["winner"]) in details["front"]
    assert default["weights"] == pytest.approx({"en": 1 / 3, "es": 1 / 3, "pt": 1 / 3})


def test_scores_are_shared_with_the_searches_of_single_objectives_both_ways(finished):
    folder, _, store = finished
    plan = plan_of(folder, SINGLE.replace("top: 1", "top: 2"))
    summary = execute(plan.steps, store, LocalExecutor(), lambda event: None, {}, write_card)
    assert not summary.errors
    for comparison in plan.comparisons:
        cost = store.find(comparison.search).details["cost"]
        assert cost["hits"] == cost["trials"] and cost["computed"] == 0
    again = plan_of(folder, JOINT.replace("kind: joint", "kind: joint, choose: mean"))
    assert again.comparisons[0].search.key != finished[1].comparisons[0].search.key
    file = folder / "again.yaml"
    file.write_text((folder / "joint.yaml").read_text("utf-8").replace("campaign: small", "campaign: again"), "utf-8")
    argv = ["run", str(file), "-w", str(store.root), "--executor", "local", "--tracking", "off"]
    shown = CliRunner().invoke(app, argv)
    assert shown.exit_code == 0, shown.output
    told = " ".join(shown.output.split())
    assert "whose settings were others: choice the default -> mean; 6 of 6 candidates have scores that are kept" in told
    details = store.find(again.comparisons[0].search).details
    assert details["cost"]["computed"] == 0 and details["metric"] == "joint_mean"


def test_the_report_shows_the_front_the_choice_and_what_the_search_cost(finished):
    _, _, store = finished
    report = write_report(store.root, "small")
    text = report.markdown.read_text(encoding="utf-8")
    assert "## One merge for several" in text and "plain mean" in text and "best for text: masked-LM loss" in text
    assert "least gain" in text and "one merge for all" in text
    assert len([file for file in report.figures if file.name.startswith("joint")]) == 2
    costs = text[text.index("## Search") :]
    assert "Galician, Portuguese" in costs and "text, ner" in costs


def test_defaults_leave_the_fingerprints_of_single_searches_as_they_were():
    spec = MergeSpec("gl", "ner", None, 1)
    assert "best_for" not in canonical_json(spec)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": ["gl"], "tasks": ["ner"]}, "two objectives or more"),
        ({"targets": ["gl", "qqq"]}, "qqq"),
        ({"targets": ["gl", "ca"]}, "ner of ca: no validation file for ca"),
        ({"kind": "zero-shot", "choose": "mean", "targets": ["gl"]}, "belongs to joint"),
        ({"methods": ["add"]}, "belongs to mixture"),
    ],
)
def test_joint_comparisons_that_cannot_work_are_refused(tmp_path, changes, message):
    section = {"name": "j", "kind": "joint", "targets": ["gl", "pt"], "tasks": ["ner", "text"], **changes}
    with pytest.raises(InputError, match=message):
        planned_only(tmp_path, {"comparisons": [section]})


def test_a_budget_below_the_starts_and_a_step_off_the_simplex_are_said(tmp_path):
    section = {"name": "j", "kind": "joint", "targets": ["gl"], "tasks": ["ner", "text"], "related": {"top": 2}}
    with pytest.raises(InputError, match="smaller than the warm starts"):
        search = {"strategy": "tpe", "evaluations": 3}
        planned_only(tmp_path, {"comparisons": [section], "search": search})
    with pytest.raises(InputError, match="does not reach through the grid"):
        search = {"lambda_step": 0.25, "evaluations": 3}
        planned_only(tmp_path, {"comparisons": [section], "search": search})


def test_the_plain_mean_is_always_tried_first(tmp_path):
    section = {"name": "j", "kind": "joint", "targets": ["gl"], "tasks": ["ner", "text"], "related": {"top": 2}}
    for search in ({}, {"strategy": "coarse", "starts": []}, {"strategy": "tpe", "evaluations": 9}):
        spec = planned_only(tmp_path, {"comparisons": [section], "search": search}).comparisons[0].search.spec
        weights = dict(spec.strategy.starts[0].weights)
        assert len(weights) == 3 and fmean(weights.values()) == pytest.approx(1 / 3)
