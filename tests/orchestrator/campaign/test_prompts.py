"""Tasks that a language model is asked in words: what the campaign file must say, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobs.errors import InputError
from jobs.scoring.pieces import pieces_digest
from jobs.spec import EvaluationSpec, SearchSpec, TaskAdapterSpec
from jobs.spec.identity import canonical_json
from orchestrator.campaign.load import load_campaign
from orchestrator.campaign.notes import campaign_notes
from orchestrator.campaign.tasks import TaskSection
from tests.orchestrator.campaign_files import planned, write_file

DATA = {"source": "json", "files": "${data}/ner-{language}-{split}.jsonl"}
LORA = {"lora": {"rank": 4, "target_modules": ["q_proj"]}, "objective": "causal-lm", "training": {"optimizer_steps": 5}}
MATHS = {
    "name": "maths",
    "kind": "generation",
    "language": "en",
    "data": DATA,
    "metric": "number_match",
    "prompt": "{question}\nAnswer:",
    "answer": " {answer_number}",
}
NLI = {
    "name": "nli",
    "kind": "classification",
    "language": "en",
    "data": DATA,
    "prompt": "{premise} {hypothesis}:",
    "choices": [" yes", " no"],
}


def with_task(task, adapter=LORA):
    comparison = {"name": "m", "kind": "mixture", "targets": ["gl"], "tasks": [task["name"]], "methods": ["add"]}
    return {"tasks": [task], "language_adapter": adapter, "comparisons": [comparison]}


def refused(tmp_path, task, adapter=LORA):
    with pytest.raises(InputError) as caught:
        load_campaign(write_file(tmp_path, with_task(task, adapter)))
    return "\n".join(str(fault) for fault in caught.value.faults)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({**MATHS, "answer": ""}, "a generation task with a `prompt` has an `answer`, and no `choices`"),
        ({**MATHS, "choices": ["a", "b"]}, "a generation task with a `prompt` has an `answer`, and no `choices`"),
        ({**MATHS, "metric": "accuracy"}, "`metric` of a generation task is one of exact_match, number_match"),
        ({**MATHS, "prompt": "{question"}, "`prompt`: a lone {"),
        ({**MATHS, "answer": "{}"}, "`answer`: not the name of a column"),
        ({**MATHS, "rouge_tokenizer": "x"}, "`rouge_tokenizer` belongs to the metrics rouge2 and rougeL"),
        ({**MATHS, "max_new_tokens": 0}, "max_new_tokens"),
        ({**NLI, "choices": [" yes"]}, "has two `choices` or more, and no `answer`"),
        ({**NLI, "answer": "{label}"}, "has two `choices` or more, and no `answer`"),
        ({**NLI, "labels": ["a", "b", "c"]}, "3 `labels` and 2 `choices`"),
        ({**NLI, "prompt": ""}, "`choices` belong to a task with a `prompt`"),
        ({**NLI, "kind": "ner", "labels": ["O"]}, "a ner task has no `prompt`"),
        ({"name": "lm", "kind": "causal-lm", "prompt": "{text}"}, "a causal-lm task has no `prompt`"),
        ({**MATHS, "metric": "rouge2"}, "the words of ROUGE are English (task maths)"),
        ({**NLI, "prompt": "", "choices": []}, "a classification task needs `labels`"),
    ],
)
def test_words_that_do_not_fit_the_task_are_refused(tmp_path, task, said):
    assert said in refused(tmp_path, task)


def test_a_language_without_english_words_is_placed(tmp_path):
    said = refused(tmp_path, {**MATHS, "metric": "rougeL"})
    assert "comparisons[0].targets[0]" in said and "`rouge_tokenizer`" in said


def test_bottleneck_adapters_cannot_be_asked_in_words(tmp_path):
    said = refused(tmp_path, MATHS, {"training": {"optimizer_steps": 5}})
    assert "tasks[0].prompt: bottleneck adapters sit on encoders" in said


def test_the_prompt_reaches_the_steps_and_their_identity(tmp_path):
    keys = set()
    for prompt in ("{question}", "{question} Answer:"):
        task = {**MATHS, "prompt": prompt, "max_new_tokens": 9}
        plan = planned(tmp_path, {**with_task(task), "languages.pool": ["en", "gl"], "seeds": [1]})
        (step,) = [step for step in plan.steps if isinstance(step.spec, TaskAdapterSpec)]
        task = step.spec.task
        assert (task.prompt, task.answer, task.max_new_tokens) == (prompt, " {answer_number}", 9)
        keys.add(step.key)
    assert len(keys) == 2


def test_the_tokenizer_of_rouge_is_pinned_by_its_bytes_not_by_its_place(tmp_path):
    references = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "spiece.model").write_bytes(b"bytes")
        section = TaskSection(**{**MATHS, "metric": "rouge2", "rouge_tokenizer": str(tmp_path / name)})
        references.append(section.ref)
    assert references[0] == references[1]
    assert references[0].rouge_tokenizer == pieces_digest(str(tmp_path / "one"))
    embedded = TaskSection(**{**MATHS, "metric": "rouge2", "rouge_tokenizer": "embedded"})
    assert embedded.ref.rouge_tokenizer_path.endswith("cldr-mini")


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({**MATHS, "stop": [""]}, "tasks[0].stop[0]"),
        ({**NLI, "stop": ["\n"]}, "`stop` belongs to tasks with an `answer`"),
        ({**MATHS, "prompt": "", "stop": ["\n"]}, "`answer`, `stop` belong to a task with a `prompt`"),
        ({**MATHS, "examples": {"count": 0}}, "tasks[0].examples.count"),
        (
            {**MATHS, "examples": {"count": 2, "data": {"source": "cldr"}}},
            "`examples.data` comes from json, csv or hub",
        ),
        ({**MATHS, "examples": {"count": 2, "language": "{target}"}}, "is {target} for a baseline alone"),
    ],
)
def test_what_stands_around_a_question_has_to_fit_the_task(tmp_path, task, said):
    assert said in refused(tmp_path, task)


def plan_with(tmp_path, task, *baselines, **changes):
    content = with_task(task)
    content["comparisons"][0]["baselines"] = list(baselines)
    return planned(tmp_path, {**content, "languages.pool": ["en", "gl"], "seeds": [1], **changes})


def specs(plan, kind):
    return [step.spec for step in plan.steps if isinstance(step.spec, kind)]


def test_a_task_is_asked_alike_in_training_search_and_test(tmp_path):
    task = {**MATHS, "stop": ["\n"], "examples": {"count": 3, "seed": 5}}
    plan = plan_with(tmp_path, task)
    (asked,) = {spec.task for kind in (SearchSpec, EvaluationSpec) for spec in specs(plan, kind)}
    assert (asked.stop, asked.examples.count, asked.examples.seed) == (("\n",), 3, 5)
    assert (asked.examples.data.language, [split for split, _ in asked.examples.data.files]) == ("en", ["train"])
    (trained,) = {spec.task for spec in specs(plan, TaskAdapterSpec)}
    assert trained == replace(asked, stop=())


@pytest.mark.parametrize(("best_by", "kept"), [("loss", False), ("metric", True)])
def test_a_stop_string_is_part_of_a_training_only_where_written_answers_choose_its_weights(tmp_path, best_by, kept):
    def key(**changes):
        training = {"training": {"optimizer_steps": 5, "best_by": best_by}}
        plan = plan_with(tmp_path, {**MATHS, **changes}, task_adapter=training)
        return {step.key for step in plan.steps if isinstance(step.spec, TaskAdapterSpec)}

    assert (key() != key(stop=["\n"])) is kept


def test_a_baseline_is_asked_in_its_own_way_and_the_task_s_adapter_is_not_trained_so(tmp_path):
    few = {"name": "few", "weights": {}, "examples": {"count": 2, "language": "{target}"}, "stop": ["\n\n"]}
    plan = plan_with(tmp_path, MATHS, "no-adapter", few)
    (trained,) = specs(plan, TaskAdapterSpec)
    assert (trained.task.examples, trained.task.stop) == (None, ())
    evaluations = [spec.task for spec in specs(plan, EvaluationSpec)]
    asked = [task for task in evaluations if task.examples]
    assert [(task.stop, task.examples.count, task.examples.data.language) for task in asked] == [(("\n\n",), 2, "gl")]
    assert asked[0].prompt == MATHS["prompt"]
    assert len(evaluations) == 3


@pytest.mark.parametrize(
    ("task", "baseline", "said"),
    [
        (NLI, {"stop": ["\n"]}, "choices are weighed, not written"),
        ({"name": "lm", "kind": "causal-lm", "language": "en"}, {"examples": {"count": 1}}, "not asked in words"),
    ],
)
def test_a_baseline_s_way_of_asking_has_to_fit_the_task(tmp_path, task, baseline, said):
    with pytest.raises(InputError) as caught:
        method = {"name": "m", "weights": {"language:{source}": "lambda"}}
        content = with_task(task)
        content["comparisons"][0] |= {"methods": [method], "baselines": [{"name": "b", "weights": {}, **baseline}]}
        planned(tmp_path, {**content, "languages.pool": ["en", "gl"]})
    assert said in str(caught.value)


def test_a_chat_needs_a_template_that_the_backbone_brings(tmp_path):
    with pytest.raises(InputError, match="task maths: chat: the tokenizer has no chat template"):
        plan_with(tmp_path, {**MATHS, "chat": True})
    (tmp_path / "backbone" / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    assert all(spec.task.chat for spec in specs(plan_with(tmp_path, {**MATHS, "chat": True}), EvaluationSpec))


def test_examples_and_chat_change_what_a_step_is_and_their_defaults_do_not(tmp_path):
    def key(**changes):
        (spec,) = specs(plan_with(tmp_path, {**MATHS, **changes}), SearchSpec)
        return canonical_json(spec)

    plain = key()
    assert plain == key(stop=[], chat=False) and "stop" not in plain
    assert len({plain, key(stop=["\n"]), key(examples={"count": 1}), key(examples={"count": 1, "seed": 1})}) == 4


def test_a_prompt_that_ends_in_white_space_is_told_and_planned(tmp_path):
    ending = {"name": "xlt", "weights": {}, "prompt": "Answer in {target}: {question}\n"}
    plan = plan_with(tmp_path, {**MATHS, "prompt": "{question}\nAnswer: "}, ending)
    first, second = campaign_notes(plan.campaign)
    assert first.startswith("task maths: `prompt` ends in white space")
    assert second.startswith("comparison m, baseline xlt: `prompt` ends in white space")
    assert not list(campaign_notes(plan_with(tmp_path, MATHS, "no-adapter").campaign))
