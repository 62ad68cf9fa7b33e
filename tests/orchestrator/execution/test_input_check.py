"""Labelled files are read before anything is trained: what is wrong with any language is said at once."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from jobs.errors import InputError
from jobs.spec import JobResult
from orchestrator.campaign.load import load_campaign
from orchestrator.execution.input_check import check_task_data
from orchestrator.plan.pinned_references import References
from orchestrator.plan.plan import Plan, plan_campaign
from orchestrator.run import RunSettings, run_campaign
from orchestrator.store.artifacts import ArtifactStore, take_inventory
from orchestrator.store.step import Step

TRAINING = {"optimizer_steps": 2, "max_length": 32}
Rows = list[dict[str, Any]]


def pairs(bad: int | None = None, label: str = "maybe") -> Rows:
    rows = [{"premise": f"p{i}", "hypothesis": f"h{i}", "label": ("yes", "no")[i % 2]} for i in range(4)]
    if bad is not None:
        rows[bad]["label"] = label
    return rows


def planned(folder: Path, task: dict[str, Any], files: dict[str, Rows]) -> Plan:
    """A zero-shot comparison on Galician; `files`: "language/split" -> rows."""
    for place, rows in files.items():
        file = folder / "data" / f"{place}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    data = {"source": "json", "files": f"{folder}/data/{{language}}/{{split}}.jsonl"}
    document = {
        "campaign": "checked",
        "corpora": {"source": "cldr"},
        "languages": {"pool": ["en", "es"]},
        "language_adapter": {"training": TRAINING},
        "task_adapter": {"training": TRAINING},
        "tasks": [{"data": data, **task}],
        "comparisons": [{"name": "c", "kind": "zero-shot", "targets": ["gl"], "tasks": [task["name"]]}],
    }
    file = folder / "campaign.yaml"
    file.write_text(yaml.safe_dump(document))
    return plan_campaign(load_campaign(file), References(folder / "cache"))


NLI = {"name": "nli", "kind": "classification", "labels": ["yes", "no"]}
SOUND = {place: pairs() for place in ("en/train", "en/validation", "gl/validation", "gl/test")}


def test_faulty_rows_of_every_language_and_split_are_told_before_a_run_begins(tmp_path: Path) -> None:
    plan = planned(tmp_path, NLI, {**SOUND, "en/validation": pairs(1), "gl/test": pairs(3, "si")})
    with pytest.raises(InputError) as refused:
        run_campaign(plan, RunSettings(tmp_path / "w", "local", tracking="off"), Console(file=io.StringIO()))
    first, second = map(str, refused.value.faults)
    assert first.startswith(f"{tmp_path}/data/en/validation.jsonl:2: a label the task does not have (got maybe)")
    assert second.startswith(f"{tmp_path}/data/gl/test.jsonl:4: a label the task does not have (got si)")
    assert not list((tmp_path / "w").glob("campaigns/*/index.json")) and not list((tmp_path / "w").glob("artifacts/*"))


def test_an_answer_that_is_not_where_it_says_is_told_with_file_and_row(tmp_path: Path) -> None:
    rows = [
        {"context": "Ana lives in Vigo.", "question": "Where?", "answers": {"text": ["Vigo"], "answer_start": [13]}}
    ]
    moved = [{**rows[0], "answers": {"text": ["Vigo"], "answer_start": [4]}}]
    files = dict.fromkeys(SOUND, rows)
    with pytest.raises(InputError, match=r"gl/validation\.jsonl:1: the answer's offset does not fit its context"):
        check = planned(tmp_path, {"name": "qa", "kind": "qa"}, {**files, "gl/validation": moved})
        check_task_data(check.steps, tmp_path / "w" / "cache")
    long = [{**rows[0], "context": rows[0]["context"] + " And so on" * 40}] * 2
    with pytest.raises(
        InputError, match=r"gl.*test: row 0: the context is longer than the window .* 1 more rows"
    ) as told:
        check = planned(tmp_path, {"name": "qa", "kind": "qa"}, {**files, "gl/test": long})
        check_task_data(check.steps, tmp_path / "w" / "cache")
    assert len(told.value.faults) == 1


def test_tags_of_words_are_checked_too(tmp_path: Path) -> None:
    rows = [{"tokens": ["Vigo", "."], "ner_tags": ["B-LOC", "O"]}]
    files = {**dict.fromkeys(SOUND, rows), "gl/test": [{"tokens": ["Ana"], "ner_tags": ["B-PER"]}]}
    plan = planned(tmp_path, {"name": "ner", "kind": "ner", "labels": ["O", "B-LOC", "I-LOC"]}, files)
    with pytest.raises(InputError, match=r"sentence 0: labels the task does not have \(got B-PER\)"):
        check_task_data(plan.steps, tmp_path / "w" / "cache")


def unfinished(plan: Plan, store: ArtifactStore) -> list[Step]:
    found = take_inventory(plan.steps, store)
    return [step for step in plan.steps if step.key not in found.records]


def test_what_finished_steps_read_and_what_lies_elsewhere_is_left_alone(tmp_path: Path) -> None:
    plan = planned(tmp_path, NLI, {**SOUND, "en/train": pairs(0)})
    store = ArtifactStore(tmp_path / "w")
    with pytest.raises(InputError, match="en/train"):
        check_task_data(unfinished(plan, store), store.cache)
    for step in plan.steps:
        if step.job == "task-adapter":
            store.commit(step, store.stage(step), JobResult(), {})
    check_task_data(unfinished(plan, store), store.cache)
    for file in (tmp_path / "data" / "en").iterdir():
        file.unlink()
    check_task_data(plan.steps, tmp_path / "elsewhere" / "cache")
