"""What a search says of adapters alone and of its curves, for rules that are no weighted sum."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from orchestrator.execution.event_log import Events
from orchestrator.plan.index import Comparison
from orchestrator.results.inputs import ReportInputs
from orchestrator.results.searches import alone_scores, read_search
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.record import Record

INPUTS = {f"language:{code}@{seed}": f"language-adapter/{code}-s{seed}" for code in ("en", "es") for seed in (1, 2)}
EN = {"weights": {"en": 1.0}, "pair": ["en", "es"], "lambda": 1.0, "mean": 40.0, "scores": {"1": 39.0, "2": 41.0}}
ES = {**EN, "weights": {"es": 1.0}, "lambda": 0.0, "mean": 38.0}
TIES = [
    {**EN, "weights": {"en": 1.0, "es": 1.0}, "method": "ties", "options": {"lambda": value}, "lambda": value}
    for value in (0.8, 1.8)
]


def searched(name: str, candidates: list[dict[str, Any]], inputs: dict[str, str]) -> Record:
    details = {"candidates": candidates, "winner": candidates[0]}
    return Record(f"search/{name}", "search", name, "", {"spec": {}}, inputs, {}, {}, {}, details, {})


def comparison(method: str) -> Comparison:
    return Comparison(
        name=f"zero-shot: {method}", kind="mixture", section="zero-shot", method=method, target="gl", task="ner",
        task_kind="ner", metric="f1", mode="max", seeds=(1, 2), search=f"search/{method}", systems=(),
    )  # fmt: skip


def inputs(folder: Path, *records: Record) -> ReportInputs:
    both = (comparison("ties"), comparison("language-arithmetic"))
    known = {record.key: record for record in records}
    return ReportInputs(ArtifactStore(folder), "c", "", tuple(known), {}, both, "", {}, known, {}, Events())


def test_adapters_alone_are_scored_by_another_method_of_the_section(tmp_path: Path) -> None:
    ties, sums = searched("ties", TIES, INPUTS), searched("language-arithmetic", [EN, ES], INPUTS)
    assert alone_scores(inputs(tmp_path, ties, sums), comparison("ties")) == {"en": 40.0, "es": 38.0}
    assert alone_scores(inputs(tmp_path, ties), comparison("ties")) == {}


def test_scores_of_other_adapters_of_the_language_are_not_taken(tmp_path: Path) -> None:
    short = {**INPUTS, "language:es@2": "language-adapter/es-s2-on-fewer-tokens"}
    ties, sums = searched("ties", TIES, short), searched("language-arithmetic", [EN, ES], INPUTS)
    assert alone_scores(inputs(tmp_path, ties, sums), comparison("ties")) == {"en": 40.0}


def test_a_curve_says_whether_lambda_is_a_weight(tmp_path: Path) -> None:
    made = inputs(tmp_path, searched("ties", TIES, INPUTS), searched("language-arithmetic", [EN, ES], INPUTS))
    found = {one: read_search(made, comparison(one)) for one in ("ties", "language-arithmetic")}
    assert {name: [c.weighs_first for c in one.curves] for name, one in found.items() if one} == {
        "ties": [False],
        "language-arithmetic": [True],
    }


def test_other_targets_and_tasks_are_no_siblings(tmp_path: Path) -> None:
    made = inputs(tmp_path, searched("ties", TIES, INPUTS), searched("language-arithmetic", [EN, ES], INPUTS))
    for change in ({"target": "pt"}, {"task": "qa"}, {"section": "other"}):
        assert alone_scores(made, dataclasses.replace(comparison("ties"), **change)) == {}
