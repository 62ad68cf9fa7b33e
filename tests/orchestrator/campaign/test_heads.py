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
        (
            {**campaign(), "tasks": [{**NLI, "sources": ["en", "es"], "trained_on": "sources"}]},
            "tasks[0].trained_on: task adapters of this kind are merged, one of each language",
        ),
        (
            {
                "tasks": [{**NLI, "trained_on": "sources"}],
                "comparisons.0.tasks": ["nli"],
                "comparisons.1.tasks": ["nli"],
            },
            "`trained_on: sources` needs two `sources` or more",
        ),
        (
            campaign(kind="enhancement", methods=None),
            "comparisons[0].kind: language adapters of this kind carry no head",
        ),
    ],
)
def test_systems_without_a_head_are_refused(tmp_path, changes, said):
    assert said in refused(tmp_path, changes)


def test_a_multilingual_adapter_with_a_head_learns_from_all_sources(tmp_path):
    changes = campaign(baselines=["multilingual"], methods=["add-all"])
    changes["tasks"] = [{**NLI, "sources": ["en", "es", "fr"]}]
    found = [s for s in planned(tmp_path, changes).steps if s.job == "task-adapter" and s.spec.more_data]
    (step,) = found
    assert [one.language for one in (step.spec.data, *step.spec.more_data)] == ["en", "es", "fr"]
    assert [role for role, _ in step.inputs] == ["theta_pre"]


def test_a_stacked_task_adapter_of_several_sources_stands_on_all_their_language_adapters(tmp_path):
    task = {**NLI, "sources": ["en", "es"], "trained_on": "sources"}
    changes = {"tasks": [task], "comparisons.0.tasks": ["nli"], "comparisons.1.tasks": ["nli"], "seeds": [1]}
    plan = planned(tmp_path, changes)
    (step,) = [step for step in plan.steps if step.job == "task-adapter"]
    assert dict(step.inputs).keys() == {"language:en", "language:es"} and step.name == "nli-multilingual-s1"
    scored = [step for step in plan.steps if step.job == "evaluation"]
    assert scored and all(dict(one.inputs)["task"] is step for one in scored)
    changes["languages.pool"] = ["en", "pt", "fr"]
    changes["comparisons.1.targets"] = ["pt"]
    assert "tasks[0].sources[1]: the task's language has no adapter" in refused(tmp_path, changes)
