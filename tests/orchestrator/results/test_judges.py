"""What choosing by text costs against choosing by labels: the numbers, and what the report says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.report.render import markdown
from orchestrator.report.sections.judges import judges_section
from orchestrator.report.write import build
from orchestrator.results.comparisons import campaign_results
from orchestrator.results.inputs import read_inputs
from orchestrator.results.judges import regrets
from tests.orchestrator.synthetic_campaign import CAMPAIGN, MLM, NER, Synthetic

PAIR = (("en", "pt"),)


def judged(workspace: Path, first: str = "text") -> tuple[Synthetic, dict[str, Any]]:
    """A finished comparison on named entities that text and labels have both chosen for."""
    made = Synthetic(workspace)
    entry = made.compare("zero-shot", "gl", NER, PAIR)
    searches = {"text": made.search("gl", MLM, PAIR), "labels": made.search("gl", NER, PAIR)}
    by_text = {str(seed): made.merge("gl", MLM, searches["text"], seed) for seed in made.seeds}
    other = made.system("gl", NER, "judged", {}, -1.5, by_text)
    arithmetic = next(one for one in entry["systems"] if one["role"] == "arithmetic")
    if first == "text":  # the choice by text is what arithmetic is, and that by labels stands beside it
        other["evaluations"], arithmetic["evaluations"] = arithmetic["evaluations"], other["evaluations"]
        entry |= {"search": searches["text"].key, "validation": "mlm_loss"}
    rest = "labels" if first == "text" else "text"
    other["name"], other["label"] = f"by:{rest}", f"language arithmetic, chosen by {rest}"
    entry["judges"] = {judge: searches[judge].key for judge in (first, rest)}
    entry["systems"].insert(-1, other)
    folder = workspace / "campaigns" / CAMPAIGN
    folder.mkdir(parents=True)
    index = {"format": 1, "campaign": CAMPAIGN, "steps": list(made.steps), "comparisons": [entry]}
    (folder / "index.json").write_text(json.dumps(index))
    return made, entry


@pytest.mark.parametrize("first", ["text", "labels"])
def test_the_regret_is_what_the_choice_by_text_scores_worse(tmp_path: Path, first: str) -> None:
    made, entry = judged(tmp_path, first)
    inputs = read_inputs(tmp_path, CAMPAIGN)
    (found,) = regrets(inputs, campaign_results(inputs))
    text, labels = (made.records[entry["judges"][judge]].details for judge in ("text", "labels"))
    means = {one["lambda"]: one["mean"] for one in labels["candidates"]}
    chosen = text["winner"]["lambda"]
    assert found.validation == pytest.approx(max(means.values()) - means[chosen]) and found.validation > 0
    assert found.place == sorted(means.values(), reverse=True).index(means[chosen]) + 1
    assert found.candidates == len(means)
    systems = {one["role"]: one["evaluations"] for one in entry["systems"]}
    ours, theirs = (systems[role] for role in ("arithmetic", "judged"))
    by_text, by_labels = (ours, theirs) if first == "text" else (theirs, ours)
    f1 = [[made.records[key].metrics["f1"] for key in one.values()] for one in (by_text, by_labels)]
    value, low, high = found.on_test
    assert value == pytest.approx(sum(f1[1]) / 2 - sum(f1[0]) / 2) and low < value < high


def test_validation_scores_of_a_search_by_text_are_losses(tmp_path: Path) -> None:
    made, entry = judged(tmp_path)
    inputs = read_inputs(tmp_path, CAMPAIGN)
    (result,) = campaign_results(inputs)
    rows = made.records[entry["judges"]["text"]].details["candidates"]
    losses = [row["mean"] for row in rows]
    assert result.search is not None and result.search.winner_mean == min(losses)
    assert result.search.best_so_far[-1] == min(losses)
    ends = {"en": losses[-1], "pt": losses[0]} if rows[-1]["lambda"] == 1 else {}
    assert result.better_proxy == f"proxy:{min(ends, key=ends.get)}"  # type: ignore[arg-type]
    assert result.flatness is not None and result.flatness.validation_gain >= 0


def test_the_report_has_both_choices_and_their_regret(tmp_path: Path) -> None:
    judged(tmp_path)
    inputs = read_inputs(tmp_path, CAMPAIGN)
    results = campaign_results(inputs)
    (found,) = regrets(inputs, results)
    page = markdown(build(inputs, results, tmp_path), "figures")
    part = page.split("Choice without labels")[1].split("\n## ")[0]
    assert f"{found.place} of {found.candidates}" in part and f"{found.validation:.2f}" in part
    assert "In 1 choice by text the mean regret is" in part
    assert "chosen by masked-LM loss" in page and "Gain over arithmetic, chosen by labels" in page


def test_a_choice_by_text_alone_says_that_labels_were_not_asked(tmp_path: Path) -> None:
    judged(tmp_path)
    index = tmp_path / "campaigns" / CAMPAIGN / "index.json"
    content = json.loads(index.read_text())
    content["comparisons"][0]["judges"].pop("labels")
    index.write_text(json.dumps(content))
    inputs = read_inputs(tmp_path, CAMPAIGN)
    section = judges_section(inputs, campaign_results(inputs))
    assert section is not None and "what labels would have chosen was not asked" in str(section)
