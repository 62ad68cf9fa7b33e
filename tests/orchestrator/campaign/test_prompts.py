"""Tasks that a language model is asked in words: what the campaign file must say, and what becomes of it."""

from __future__ import annotations

import pytest

from jobs.errors import InputError
from jobs.scoring.pieces import pieces_digest
from jobs.spec import TaskAdapterSpec
from orchestrator.campaign.load import load_campaign
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
