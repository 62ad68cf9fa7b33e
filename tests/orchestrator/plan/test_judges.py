"""Searches that the target's text decides: which steps are planned, and which are those of others."""

import pytest

from jobs.errors import InputError
from jobs.spec import MergeSpec, SearchSpec
from orchestrator.campaign.load import load_campaign
from orchestrator.plan.index import index
from tests.orchestrator.campaign_files import planned, write_data, write_file

TEXT = {"search": {"lambda_step": 0.25, "judged_by": "text"}}
BOTH = {"search": {"lambda_step": 0.25, "judged_by": ["text", "labels"]}}
LABELS_TOO = {"search": {"lambda_step": 0.25, "judged_by": ["labels", "text"]}}


def of(plan, task, target="gl"):
    return next(one for one in plan.comparisons if (one.task.name, one.target) == (task, target))


def kinds_searched(plan):
    return {step.spec.task.kind for step in plan.steps if isinstance(step.spec, SearchSpec)}


def test_text_decides_by_the_search_and_the_merge_of_the_campaign_s_own_text_task(tmp_path):
    plan = planned(tmp_path, TEXT)
    tagged, text = of(plan, "ner"), of(plan, "text")
    assert kinds_searched(plan) == {"masked-lm"}
    assert tagged.search is text.search or tagged.search.key == text.search.key
    assert dict(tagged.merges)[1].key == dict(text.merges)[1].key
    arithmetic = tagged.systems[-1]
    for _, step in arithmetic.evaluations:
        assert (step.spec.task.kind, step.spec.split) == ("ner", "test")
        assert {role for role, _ in step.inputs} == {"merge", "task"}
    without = planned(tmp_path)
    assert of(without, "text").search.key == text.search.key  # nothing new was to be searched
    assert len(plan.steps) < len(without.steps)


def test_a_target_needs_no_labelled_validation_data_then(tmp_path):
    write_data(tmp_path)
    (tmp_path / "data" / "ner-gl-validation.jsonl").unlink()
    zero_shot = {"comparisons.1": ...}
    with pytest.raises(InputError, match="no validation file for gl"):
        planned(tmp_path, zero_shot)
    assert kinds_searched(planned(tmp_path, {**TEXT, **zero_shot})) == {"masked-lm"}


def test_without_a_text_task_there_is_one_of_the_adapters_objective(tmp_path):
    plan = planned(tmp_path, {**TEXT, "tasks.1": ..., "comparisons.1": ..., "comparisons.0.tasks": ["ner"]})
    (search,) = (step for step in plan.steps if isinstance(step.spec, SearchSpec))
    assert (search.spec.task.name, search.spec.task.kind, search.spec.data.language) == ("text", "masked-lm", "gl")
    assert not any(role.startswith("task") for role, _ in search.inputs)


@pytest.mark.parametrize("target", ["gl", "es"])
@pytest.mark.parametrize(("changes", "first", "other"), [(BOTH, "text", "labels"), (LABELS_TOO, "labels", "text")])
def test_of_two_judges_the_first_decides_and_the_other_s_choice_is_tested_too(tmp_path, changes, first, other, target):
    by_labels, by_text = (of(planned(tmp_path, one), "ner", target).search for one in ({}, TEXT))
    searches = {"labels": by_labels.key, "text": by_text.key}
    plan = planned(tmp_path, changes)
    comparison = of(plan, "ner", target)
    assert comparison.search.key == searches[first]
    (judged,) = (system for system in comparison.systems if system.role == "judged")
    assert judged.name == f"by:{other}"
    for _, step in judged.evaluations:
        merge = dict(step.inputs)["merge"]
        assert isinstance(merge.spec, MergeSpec) and dict(merge.inputs)["search"].key == searches[other]
    (entry,) = (one for one in index(plan)["comparisons"] if (one["task"], one["target"]) == ("ner", target))
    assert entry["judges"] == {first: searches[first], other: searches[other]}
    assert list(entry["judges"]) == [first, other]
    assert entry["validation"] == ("mlm_loss" if first == "text" else "")
    (plain,) = (one for one in index(plan)["comparisons"] if (one["task"], one["target"]) == ("text", target))
    assert plain["judges"] == {} and plain["validation"] == ""


MIXTURE = {"name": "mixed", "kind": "mixture", "targets": ["gl"], "tasks": ["ner"], "methods": ["add-related"]}
JOINT = {"name": "both", "kind": "joint", "targets": ["gl"], "tasks": ["ner", "text"]}


@pytest.mark.parametrize(
    ("comparison", "said"), [(MIXTURE, "not mixture"), (JOINT, "list a task that scores text among its own")]
)
def test_other_kinds_of_comparisons_are_not_judged_by_text(tmp_path, comparison, said):
    write_data(tmp_path)
    with pytest.raises(InputError, match=said):
        load_campaign(write_file(tmp_path, {**TEXT, "comparisons": [comparison]}))


def test_a_judge_is_named_once_and_is_one_of_two(tmp_path):
    write_data(tmp_path)
    for judges, said in ((["text", "text"], "a judge is named twice"), ("loss", "judged_by"), ([], "judged_by")):
        with pytest.raises(InputError, match=said):
            load_campaign(write_file(tmp_path, {"search": {"judged_by": judges}}))
