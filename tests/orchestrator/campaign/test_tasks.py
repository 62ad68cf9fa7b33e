"""The tasks of a campaign file: what each kind needs, and what becomes of it in the plan."""

import pytest

from jobs.data.sentences import UPOS
from jobs.errors import InputError
from jobs.spec import EvaluationSpec, SearchSpec, TaskAdapterSpec, metric_of
from jobs.spec.identity import canonical_json
from orchestrator.campaign.load import load_campaign
from tests.orchestrator.campaign_files import planned, write_data, write_file

DATA = {"source": "json", "files": "${data}/ner-{language}-{split}.jsonl"}
QA = {"name": "qa", "kind": "qa", "language": "en", "data": DATA, "max_length": 384, "stride": 128}
NLI = {"name": "nli", "kind": "classification", "language": "en", "data": DATA, "labels": ["yes", "no"]}
COPA = {"name": "copa", "kind": "multiple-choice", "language": "en", "data": DATA}


def with_task(task):
    return {"tasks": [task], "comparisons.0.tasks": [task["name"]], "comparisons.1.tasks": [task["name"]]}


def refused(tmp_path, task):
    with pytest.raises(InputError) as caught:
        load_campaign(write_file(tmp_path, with_task(task)))
    return "\n".join(str(fault) for fault in caught.value.faults)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({**QA, "data": ...}, "a qa task needs `data`"),
        (
            {**QA, "data": {"source": "text", "files": "x"}},
            "`data` of a qa task comes from json or csv or hub, not text",
        ),
        ({**QA, "labels": ["a", "b"]}, "a qa task has no `labels`"),
        ({**QA, "stride": 192}, "`stride` is less than half of `max_length`"),
        ({**QA, "metric": "accuracy"}, "`metric` of a qa task is one of f1, exact_match"),
        ({**NLI, "labels": ["yes"]}, "a classification task needs `labels`"),
        ({**NLI, "labels": ["yes", "no", "yes"]}, "a label is listed twice"),
        ({**NLI, "stride": 8}, "`stride` and `answer_rules` are of qa tasks"),
        ({**COPA, "max_length": 4}, "`max_length` is at least 8 tokens"),
        ({**COPA, "evaluation_data": {"source": "cldr"}}, "`evaluation_data` of a multiple-choice task comes from"),
        ({**NLI, "kind": "ner", "labels": []}, "a ner task on other data than cldr needs `labels`"),
        ({**QA, "data": {**DATA, "repair": True}}, "`data.repair` is of ner tasks"),
        ({**COPA, "kind": "pos", "data": {"source": "cldr"}}, "`data` of a pos task comes from json or conll or hub"),
        ({**COPA, "kind": "pos", "data": {**DATA, "columns": {"a": "b"}}}, "a pos task has `tokens_column`"),
        ({**COPA, "kind": "pos", "prompt": "{tokens}", "answer": "x"}, "a pos task has no `prompt`"),
        ({**NLI, "kind": "masked-lm"}, "masked-lm is scored on the corpora: leave `data`"),
    ],
)
def test_a_task_that_does_not_fit_its_kind_is_refused(tmp_path, task, said):
    assert said in refused(tmp_path, {key: value for key, value in task.items() if value is not ...})


def test_all_that_is_wrong_with_a_task_is_said_at_once(tmp_path):
    said = refused(tmp_path, {"name": "qa", "kind": "qa", "language": "en", "labels": ["a"], "metric": "bleu"})
    assert all(part in said for part in ("needs `data`", "has no `labels`", "is one of f1"))


def test_a_column_that_the_kind_does_not_have_is_placed(tmp_path):
    said = refused(tmp_path, {**NLI, "data": {**DATA, "columns": {"premis": "sentence1"}}})
    assert "tasks[0].data.columns.premis: a classification task has no such column" in said
    assert "known: premise, hypothesis, label" in said and "campaign.yaml:" in said


def test_a_task_that_writes_needs_another_adapter_than_a_bottleneck(tmp_path):
    said = refused(tmp_path, {"name": "sums", "kind": "generation", "language": "en", "data": DATA})
    assert "tasks[0].kind: generation needs a language model that writes" in said


def test_a_task_has_its_own_length_and_the_others_keep_theirs(tmp_path):
    plan = planned(tmp_path, with_task(QA))
    trained = next(step.spec for step in plan.steps if isinstance(step.spec, TaskAdapterSpec))
    assert (trained.training.max_length, trained.task.stride, trained.task.labels) == (384, 128, ())
    scored = [step.spec for step in plan.steps if isinstance(step.spec, SearchSpec | EvaluationSpec)]
    assert {spec.max_length for spec in scored} == {384} and metric_of(trained.task)[0] == "f1"
    plan = planned(tmp_path, with_task(COPA))
    trained = next(step.spec for step in plan.steps if isinstance(step.spec, TaskAdapterSpec))
    assert trained.training.max_length == 128 and metric_of(trained.task) == ("accuracy", "max")


def test_naming_the_default_metric_changes_nothing(tmp_path):
    keys = [
        [step.key for step in planned(tmp_path, with_task({**QA, **more})).steps] for more in ({}, {"metric": "f1"})
    ]
    assert keys[0] == keys[1]
    other = planned(tmp_path, with_task({**QA, "metric": "exact_match"}))
    assert other.comparisons[0].task.metric == "exact_match"


def test_targets_have_data_of_their_own_where_the_task_says_so(tmp_path):
    write_data(tmp_path)
    for language in ("gl", "es"):
        for split in ("validation", "test"):
            (tmp_path / "data" / f"xquad.{language}.{split}.json").write_text("{}\n")
    other = {"source": "json", "files": "${data}/xquad.{language}.{split}.json", "columns": {"context": "text"}}
    plan = planned(tmp_path, with_task({**QA, "evaluation_data": other}))
    trained = next(step.spec for step in plan.steps if isinstance(step.spec, TaskAdapterSpec))
    assert all("ner-en" in path for _, path in trained.data.files) and trained.data.columns == ()
    for step in plan.steps:
        if isinstance(step.spec, SearchSpec | EvaluationSpec):
            assert all("xquad." in path for _, path in step.spec.data.files)
            assert step.spec.data.columns == (("context", "text"),)


def test_one_file_may_be_cut_into_validation_and_test(tmp_path):
    write_data(tmp_path)
    for language in ("gl", "es"):
        (tmp_path / "data" / f"all-{language}.json").write_text("{}\n")
    halves = {
        "source": "json",
        "files": "${data}/{split}-{language}.json",
        "splits": {"validation": "all[:50%]", "test": "all[50%:]"},
    }
    plan = planned(tmp_path, with_task({**QA, "evaluation_data": halves}))
    paths = {path for step in plan.steps if isinstance(step.spec, EvaluationSpec) for _, path in step.spec.data.files}
    assert paths == {str(tmp_path / "data" / f"all-{language}.json") for language in ("gl", "es")}


def test_targets_without_data_are_all_named_before_anything_is_trained(tmp_path):
    other = {"source": "json", "files": "${data}/absent-{language}-{split}.jsonl"}
    with pytest.raises(InputError) as caught:
        planned(tmp_path, with_task({**QA, "evaluation_data": other}))
    said = "\n".join(map(str, caught.value.faults))
    for language in ("gl", "es"):
        for split in ("validation", "test"):
            assert f"qa of {language}: no {split} file for {language}" in said


def test_parts_of_speech_have_the_universal_labels_unless_the_file_gives_others(tmp_path):
    task = {"name": "pos", "kind": "pos", "language": "en", "data": DATA}
    (section,) = load_campaign(write_file(tmp_path, with_task(task))).tasks
    assert section.ref.labels == UPOS
    (other,) = load_campaign(write_file(tmp_path, with_task({**task, "labels": ["N", "V"]}))).tasks
    assert other.ref.labels == ("N", "V")


def test_tags_are_mended_where_the_data_say_so_and_it_is_part_of_what_a_step_is(tmp_path):
    def sentences(data):
        plan = planned(tmp_path, {"tasks.0.data": data})
        return {step.spec.data for step in plan.steps if isinstance(step.spec, TaskAdapterSpec)}

    (plain,), (mended,) = sentences(DATA), sentences({**DATA, "repair": True})
    assert (plain.repair, mended.repair) == (False, True)
    assert "repair" not in canonical_json(plain) and "repair" in canonical_json(mended)
