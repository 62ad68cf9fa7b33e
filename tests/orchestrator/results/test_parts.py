"""What weights by part gained: the numbers, and what the report says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.spec import JobResult, MergeSpec
from orchestrator.report.numbers import numbers
from orchestrator.report.render import markdown
from orchestrator.report.sections.parts import parts_section
from orchestrator.report.write import build
from orchestrator.results.comparisons import campaign_results
from orchestrator.results.inputs import ReportInputs, read_inputs
from orchestrator.results.parts import freedoms
from orchestrator.store.step import Step, make_step
from tests.orchestrator.synthetic_campaign import BACKBONE, CAMPAIGN, NER, Synthetic

PAIR = (("en", "pt"),)


class Parted(Synthetic):
    """Searches by parts: `gain` points better on validation data with a lambda of its own below; 0 for no better."""

    gain = 0.6

    def commit(self, step: Step, result: JobResult, arrays: dict[str, Any] | None = None, **texts: str) -> Step:
        if step.job == "search" and step.key not in self.steps:
            result = JobResult(result.metrics, details=self._by_part(result.details))
        return super().commit(step, result, arrays, **texts)

    def _by_part(self, details: dict[str, Any]) -> dict[str, Any]:
        single = details["winner"]
        free = {
            "weights": single["weights"], "pair": single["pair"], "parts": {"lower": {"en": 1.0, "pt": 0.0}},
            "lambdas": {"rest": single["lambda"], "lower": 1.0},
            "scores": {seed: value + self.gain for seed, value in single["scores"].items()},
            "mean": single["mean"] + self.gain,
        }  # fmt: skip
        winner = free if self.gain else single
        beside = {**single, "gain": self.gain, "error": 0.25}
        return {**details, "candidates": [*details["candidates"], free], "winner": winner, "by_part": beside}

    def with_single(self, entry: dict[str, Any], quality: float) -> None:
        """The best single lambda, tested beside the winner."""
        search = self.steps[entry["search"]]
        merges = {}
        for seed in self.seeds:
            adapters = {role: step for role, step in search.inputs if role.endswith(f"@{seed}")}
            step = make_step(MergeSpec("gl", "ner", BACKBONE, seed, single=True), {"search": search, **adapters})
            merges[str(seed)] = self.commit(step, JobResult())
        entry["systems"].insert(-1, self.system("gl", NER, "single", {}, quality, merges))


def finished(workspace: Path, gain: float = 0.6, quality: float = -1.5) -> ReportInputs:
    made = Parted(workspace)
    made.gain = gain
    entry = made.compare("zero-shot", "gl", NER, PAIR)
    made.with_single(entry, quality)
    folder = workspace / "campaigns" / CAMPAIGN
    folder.mkdir(parents=True)
    index = {"format": 1, "campaign": CAMPAIGN, "steps": list(made.steps), "comparisons": [entry]}
    (folder / "index.json").write_text(json.dumps(index))
    return read_inputs(workspace, CAMPAIGN)


def test_the_freedom_is_measured_against_the_best_single_lambda(tmp_path: Path) -> None:
    inputs = finished(tmp_path)
    (result,) = campaign_results(inputs)
    (found,) = freedoms(inputs, (result,))
    rows = inputs.records[result.comparison.search].details["candidates"]
    best = max((row for row in rows if "parts" not in row), key=lambda row: row["mean"])
    assert found.single == best["lambda"] and found.lambdas == {"rest": best["lambda"], "lower": 1.0}
    assert (found.validation, found.error) == (0.6, 0.25)
    systems = {system.role: system.mean for system in result.systems}
    assert found.test is not None and found.test.value == pytest.approx(systems["arithmetic"] - systems["single"])
    assert found.on_test == ("better" if found.test.low > 0 else "unsure")
    # The curve and its dot are those of the single lambda; the score that won is that of the freer choice.
    assert result.search is not None and result.search.winner_lambda == best["lambda"]
    assert result.search.line_mean == best["mean"] and result.search.winner_mean == pytest.approx(best["mean"] + 0.6)
    assert result.flatness is not None and result.flatness.test is None


def test_the_report_says_whether_the_freedom_was_worth_it(tmp_path: Path) -> None:
    inputs = finished(tmp_path)
    results = campaign_results(inputs)
    (found,) = freedoms(inputs, results)
    page = markdown(build(inputs, results, tmp_path), "figures")
    part = page.split("## Weights by part")[1].split("\n## ")[0]
    assert f"rest {found.single:g}, lower 1" in part and "+0.60" in part and "±0.25" in part
    verdict = {"better": "yes, beyond its uncertainty", "unsure": "less than its uncertainty"}[found.on_test]
    assert verdict in part and "Of 1 comparison searched by parts" in part
    assert "Gain over one lambda" in page and ", others by part" in page
    (numbered,) = json.loads(numbers(inputs, results))["comparisons"]
    assert numbered["lambda_by_part"] == dict(found.lambdas)


def test_where_one_lambda_was_as_good_the_report_says_so(tmp_path: Path) -> None:
    inputs = finished(tmp_path, gain=0.0)
    results = campaign_results(inputs)
    (found,) = freedoms(inputs, results)
    assert found.lambdas == {} and found.on_test == "same"
    section = parts_section(inputs, results)
    assert section is not None and "in 1 one lambda was as good" in str(section)


def test_a_search_without_parts_has_no_such_section(tmp_path: Path) -> None:
    made = Synthetic(tmp_path)
    entry = made.compare("zero-shot", "gl", NER, PAIR)
    folder = tmp_path / "campaigns" / CAMPAIGN
    folder.mkdir(parents=True)
    index = {"format": 1, "campaign": CAMPAIGN, "steps": list(made.steps), "comparisons": [entry]}
    (folder / "index.json").write_text(json.dumps(index))
    inputs = read_inputs(tmp_path, CAMPAIGN)
    assert parts_section(inputs, campaign_results(inputs)) is None
