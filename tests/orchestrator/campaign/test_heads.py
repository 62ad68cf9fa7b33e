"""Tasks with a head below LoRA and its like: what the campaign file may say, and what becomes of it in the plan."""

from __future__ import annotations

import pytest

from jobs.errors import InputError
from jobs.spec import EvaluationSpec, LoraConfig, SearchSpec, TaskAdapterSpec
from orchestrator.campaign.load import load_campaign
from tests.orchestrator.campaign_files import planned, write_file

DATA = {"source": "json", "files": "${data}/ner-{language}-{split}.jsonl"}
NLI = {"name": "nli", "kind": "classification", "language": "en", "data": DATA, "labels": ["yes", "no"]}
LORA = {"lora": {"rank": 2, "alpha": 4, "target_modules": ["query", "value"]}, "training": {"optimizer_steps": 5}}
PREFIX = {"prefix": {"length": 2}, "training": {"optimizer_steps": 5}}


def campaign(adapter=LORA, **comparison):
    mixture = {"name": "m", "kind": "mixture", "targets": ["gl"], "tasks": ["nli"], "methods": ["adamergex"]}
    return {
        "tasks": [NLI],
        "language_adapter": adapter,
        "comparisons": [{key: value for key, value in {**mixture, **comparison}.items() if value is not None}],
        "languages.pool": ["en", "gl"],
        "seeds": [1],
    }


def refused(tmp_path, changes):
    with pytest.raises(InputError) as caught:
        load_campaign(write_file(tmp_path, changes))
    return "\n".join(str(fault) for fault in caught.value.faults)


def test_the_task_adapter_starts_from_theta_pre_and_the_merge_is_scored_without_another(tmp_path):
    plan = planned(tmp_path, campaign(baselines=["task-adapter", "mad-x"]))
    tasks = [step for step in plan.steps if isinstance(step.spec, TaskAdapterSpec)]
    assert sorted([role for role, _ in step.inputs] for step in tasks) == [["language:en", "theta_pre"], ["theta_pre"]]
    assert all(step.spec.adapter == LoraConfig(2, 4.0, ("query", "value")) for step in tasks)
    (search,) = [step for step in plan.steps if isinstance(step.spec, SearchSpec)]
    assert {role for role, _ in search.inputs} == {"theta_pre", "task:en@1", "reference:gl@1", "reference:en@1"}
    scored = [{role for role, _ in step.inputs} for step in plan.steps if isinstance(step.spec, EvaluationSpec)]
    assert sorted(map(sorted, scored)) == [["language:gl", "task"], ["merge"], ["task:en"]]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (campaign(PREFIX), "tasks[0].kind: classification without a `prompt` needs a head on an encoder: prefixes sit"),
        (campaign({**LORA, "objective": "causal-lm"}), "a model that learns causal-lm has none"),
        (
            campaign(baselines=["no-adapter"]),
            "comparisons[0].baselines[0]: a system without a task adapter has no head",
        ),
        (campaign(methods=["language-arithmetic-own"]), "comparisons[0].methods[0]: a system without a task adapter"),
        (campaign(baselines=["multilingual"]), "a task adapter with a head is trained in one language (task nli)"),
        (
            campaign(kind="enhancement", methods=None),
            "comparisons[0].kind: language adapters of this kind carry no head",
        ),
    ],
)
def test_systems_without_a_head_are_refused(tmp_path, changes, said):
    assert said in refused(tmp_path, changes)
