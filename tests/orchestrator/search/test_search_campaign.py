"""A campaign whose searches leave the lines of lambda: planned, run, reported; and what such a file may get wrong."""

from __future__ import annotations

import pytest

from jobs.errors import InputError
from jobs.spec import GRID, Mixture, SimplexSpace, SubsetSpace
from orchestrator.campaign.load import load_campaign
from orchestrator.execution.local import LocalExecutor
from orchestrator.execution.loop import execute
from orchestrator.lineage.model_card import write_card
from orchestrator.plan.index import write_index
from orchestrator.plan.pinned_references import References
from orchestrator.plan.plan import plan_campaign
from orchestrator.report.write import write_report
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.layout import campaign_folder
from tests.orchestrator.small_campaign import write_campaign


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("campaign")
    write_campaign(made, steps=4)
    return made


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Where adapters are trained once for several searches."""
    return tmp_path_factory.mktemp("workspace")


def planned(folder, search, top=2):
    text = (folder / "campaign.yaml").read_text(encoding="utf-8")
    text = text.replace("search: {lambda_step: 0.5, max_length: 16}", f"search: {{max_length: 16, {search}}}")
    text = text.replace("related: {by: syntactic, top: 1}", f"related: {{by: syntactic, top: {top}}}")
    file = folder / "other.yaml"
    file.write_text(text, encoding="utf-8")
    return plan_campaign(load_campaign(file), References(folder / "cache"))


def run_and_reported(plan, workspace):
    """The store after a run without errors, and the report's Markdown."""
    store = ArtifactStore(workspace)
    summary = execute(plan.steps, store, LocalExecutor(), lambda event: None, {}, write_card)
    assert not summary.errors
    write_index(plan, campaign_folder(store.root, "small"))
    return store, write_report(store.root, "small").markdown.read_text(encoding="utf-8")


def test_a_search_of_a_simplex_is_run_merged_tested_and_reported_and_costs_nothing_again(folder, tmp_path):
    plan = planned(folder, "space: {kind: simplex, step: 0.5}, strategy: greedy, evaluations: 6")
    store, report = run_and_reported(plan, tmp_path)
    for comparison in plan.comparisons:
        details = store.find(comparison.search).details
        assert details["cost"]["strategy"] == "greedy" and 4 <= details["cost"]["spent"] <= 6
        assert set(details["winner"]["weights"]) <= {"en", "es", "pt"} and "lambda" not in details["winner"]
        merged = store.find(comparison.merges[0][1])
        assert merged.details["weights"] == details["winner"]["weights"]
    assert "## Search" in report and "greedy" in report
    again = planned(folder, "space: {kind: simplex, step: 0.5}, strategy: greedy, evaluations: 5")
    execute(again.steps, store, LocalExecutor(), lambda event: None, {}, write_card)
    for comparison in again.comparisons:
        cost = store.find(comparison.search).details["cost"]
        assert cost["hits"] == cost["trials"] and cost["computed"] == 0


def test_the_default_is_the_grid_of_the_papers(folder):
    spec = planned(folder, "lambda_step: 0.5").comparisons[0].search.spec
    assert spec.strategy == GRID and spec.space.lambdas == (0.0, 0.5, 1.0)


def test_adaptive_searches_start_with_what_needs_no_search(folder):
    spec = planned(folder, "strategy: coarse").comparisons[0].search.spec
    alone = {Mixture(((code, 1.0),)) for code in ("en", "es", "pt")}
    middles = {Mixture((("en", 0.5), (code, 0.5))) for code in ("es", "pt")}
    assert set(spec.strategy.starts) == alone | middles
    subsets = planned(folder, "space: {kind: subsets, largest: 2}, strategy: tpe, evaluations: 9, starts: [typology]")
    spec = subsets.comparisons[0].search.spec
    assert spec.space == SubsetSpace(spec.space.pool, 2) and len(spec.strategy.starts) == 1
    assert sum(weight for _, weight in spec.strategy.starts[0].weights) == pytest.approx(1)
    simplex = planned(folder, "space: {kind: simplex, step: 0.25}, strategy: greedy").comparisons[0].search.spec
    assert simplex.space == SimplexSpace(simplex.space.simplex, 0.25)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("space: {kind: simplex, step: 0.3}, strategy: greedy", "cannot sum to one"),
        ("space: {kind: simplex}", "has no grid"),
        ("space: {kind: simplex}, strategy: tpe", "endless search"),
        ("space: {kind: subsets, step: 0.5, largest: 3}, strategy: greedy", "cannot reach the simplex"),
        ("space: {kind: subsets, smallest: 4, largest: 4}, strategy: greedy", "no subset is of that size"),
        ("strategy: greedy", "chooses among languages"),
        ("strategy: cma, evaluations: 20", "more than one dimension"),
        ("strategy: tpe, evaluations: 2", "smaller than the warm starts"),
        ("lambda_step: 0.1, evaluations: 5", "does not reach through the grid"),
        ("space: {kind: subsets, rule: ties, step: 0.5, largest: 2}, strategy: tpe, evaluations: 9", "does not weigh"),
        ("space: {kind: subsets, options: {density: [0.2]}}", "task arithmetic has no options"),
    ],
)
def test_searches_that_cannot_work_are_refused_before_anything_runs(folder, search, message):
    with pytest.raises(InputError, match=message):
        planned(folder, search)


def test_lambda_is_chosen_by_folds_from_the_file_to_the_report(folder, workspace):
    plan = planned(folder, "lambda_step: 0.5, folds: 3, seed: 7", top=1)
    store, report = run_and_reported(plan, workspace)
    for comparison in plan.comparisons:
        assert (comparison.search.spec.folds, comparison.search.spec.fold_seed) == (3, 7)
        details = store.find(comparison.search).details
        lambdas = [one["lambda"] for one in details["folds"]["choices"]]
        assert details["winner"]["lambda"] == sorted(lambdas)[1]
        merged = store.find(comparison.merges[0][1])
        assert merged.details["weights"] == details["winner"]["weights"]
        assert ", ".join(f"{value:g}" for value in lambdas) in report
    assert "2 searches chose by 3 folds; the folds' lambdas have a standard deviation of" in report
    assert "Choice by folds" in report and "Cross-validated" in report


def test_weights_by_part_are_searched_merged_tested_and_reported(folder, workspace):
    plan = planned(folder, "lambda_step: 0.5, parts: [invertible, upper]", top=1)
    store, report = run_and_reported(plan, workspace)
    for comparison in plan.comparisons:
        details = store.find(comparison.search).details
        winner, single = details["winner"], details["by_part"]
        assert single["gain"] >= 0 and single["mean"] in [one["mean"] for one in details["candidates"]]
        assert any("parts" in one for one in details["candidates"])
        merges = {system.role: dict(system.evaluations[0][1].inputs)["merge"] for system in comparison.systems[-2:]}
        free, one = (store.find(merges[role]).details for role in ("arithmetic", "single"))
        assert free["weights"] == winner["weights"] and free.get("parts") == winner.get("parts")
        assert one["weights"] == single["weights"] and "parts" not in one
    assert "## Weights by part" in report and "Of 2 comparisons searched by parts" in report


def test_without_folds_no_search_has_them(folder):
    assert {one.search.spec.folds for one in planned(folder, "lambda_step: 0.5, seed: 7").comparisons} == {0}
