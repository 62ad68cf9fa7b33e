"""What a language model is asked: templates over the columns of an example, and the tokens of prompt and answer."""

from __future__ import annotations

import json

import pytest
from data_files import data_folder, json_lines, ref, write
from hypothesis import given
from hypothesis import strategies as st

from jobs.backbones import embedded_backbone
from jobs.data.prompts import prompted_texts
from jobs.data.template import Template
from jobs.errors import InputError
from jobs.files.digest import directory_digest
from jobs.spec import BackboneRef, TaskRef
from jobs.tokens.prompt_tokens import PromptRequest, prompt_tokens, shortened
from jobs.tokens.tokenizer import load_tokenizer

BACKBONE = BackboneRef("embedded", directory_digest(embedded_backbone()), str(embedded_backbone()))
MGSM = TaskRef("mgsm", "generation", metric="number_match", prompt="{question}\nAnswer:", answer=" {answer_number}")
NLI = TaskRef("nli", "classification", prompt="{premise}? {hypothesis}:", choices=(" yes", " maybe", " no"))
COPA = TaskRef("copa", "multiple-choice", prompt="{premise} {question}:", choices=(" {choice1}", " {choice2}"))
QA = TaskRef("qa", "qa", prompt="{context}\nQ: {question}\nA:", answer="{answers.text}", max_new_tokens=16)


def faults(call, *arguments):
    with pytest.raises(InputError) as caught:
        call(*arguments)
    return list(map(str, caught.value.faults))


def request(data, task, max_length=128, one_row=True, split="train"):
    return PromptRequest(data, split, task, BACKBONE, max_length, one_row)


def decoded(ids):
    return load_tokenizer(BACKBONE).decode(ids)


# Templates.


def test_braces_can_stand_for_themselves():
    template = Template.parse("{{{a}}} {b.c} {{}} {a}")
    assert template.columns == ("a", "b.c")
    filled = template.fill({"a": "x", "b": {"c": 3}})
    assert filled.text == "{x} 3 {} x"
    assert [filled.text[start:end] for start, end in filled.spans] == ["x", "3", "x"]


@pytest.mark.parametrize("text", ["{", "}", "a {b", "{}", "{a b}", "{a.__class__.}", "{0!r}"])
def test_what_is_no_template_is_said(text):
    assert "task t" in faults(Template.parse, text, "task t: prompt")[0]


def test_attributes_are_out_of_reach():
    assert "no column '__class__'" in faults(Template.parse("{__class__}").fill, {"a": "x"})[0]


def test_values_are_written_as_people_write_them():
    row = {"whole": 18.0, "part": 2.5, "number": 7, "text": "{not a column}"}
    assert Template.parse("{whole} {part} {number} {text}").fill(row).text == "18 2.5 7 {not a column}"


def test_a_list_stands_for_several_answers_also_with_text_around_it_and_beside_no_other_column():
    row = {"answers": {"text": ["a", "b", "a"]}}
    assert Template.parse("{answers.text}").fill_all(row) == ("a", "b")
    assert Template.parse("{answers.text}").fill_all({"answers": {"text": []}}) == ()
    assert Template.parse(" {answers.text}.").fill_all(row) == (" a.", " b.")
    assert Template.parse("{{{answers.text}").fill_all(row) == ("{a", "{b")
    assert "holds no text" in faults(Template.parse("{n}: {answers.text}").fill_all, {**row, "n": 1})[0]
    assert "holds no text" in faults(Template.parse("{answers.text}").fill, row)[0]


@given(st.text(max_size=30))
def test_any_text_can_be_escaped(text):
    assert Template.parse(text.replace("{", "{{").replace("}", "}}")).fill({}).text == text


# Examples.


def test_an_absent_column_is_named_with_file_row_and_columns(tmp_path):
    rows = [{"question": "1+1", "answer_number": 2}, {"answer_number": 2}, {"question": "1", "n": 2}]
    path = json_lines(tmp_path / "a.jsonl", rows)
    found = faults(prompted_texts, ref("json", path), "train", MGSM, tmp_path)
    assert [str(path) in fault and f":{line}" in fault for fault, line in zip(found, (2, 3), strict=True)] == [True] * 2
    assert "no column 'question'" in found[0]
    assert "columns: question, n" in found[1]


def test_columns_called_otherwise_are_read_under_our_names(tmp_path):
    path = json_lines(tmp_path / "a.jsonl", [{"q": "1+1", "a": 2}])
    data = ref("json", path, columns=(("question", "q"), ("answer_number", "a")))
    (only,) = prompted_texts(data, "train", MGSM, tmp_path)
    assert (only.prompt.text, only.answers) == ("1+1\nAnswer:", (" 2",))


def test_labels_are_places_names_or_named_numbers(tmp_path):
    rows = [{"premise": "p", "hypothesis": "h", "label": label} for label in (2, 0)]
    data = ref("json", json_lines(tmp_path / "a.jsonl", rows))
    assert [one.gold for one in prompted_texts(data, "train", NLI, tmp_path)] == [2, 0]
    named = TaskRef("nli", "classification", ("no", "perhaps", "yes"), prompt="{premise}", choices=NLI.choices)
    words = [{"premise": "p", "label": label} for label in ("yes", "no")]
    assert [
        one.gold
        for one in prompted_texts(ref("json", json_lines(tmp_path / "b.jsonl", words)), "train", named, tmp_path)
    ] == [2, 0]
    numbered = ref("json", tmp_path / "a.jsonl", label_names=("yes", "perhaps", "no"))
    assert [one.gold for one in prompted_texts(numbered, "train", named, tmp_path)] == [0, 2]
    write(tmp_path / "a.csv", "premise,hypothesis,label\np,h,2\np,h,0\n")
    fields = ref("csv", tmp_path / "a.csv")  # whose fields are texts
    assert [one.gold for one in prompted_texts(fields, "train", NLI, tmp_path)] == [2, 0]


@pytest.mark.parametrize(
    ("task", "row", "fault"),
    [
        (NLI, {"premise": "p", "hypothesis": "h", "label": 3}, "a label without a choice"),
        (NLI, {"premise": "p", "hypothesis": "h", "label": -1}, "a label without a choice"),
        (NLI, {"premise": "p", "hypothesis": "h", "label": True}, "a label without a choice"),
        (NLI, {"premise": "p", "hypothesis": "h"}, "no column 'label'"),
        (COPA, {"premise": "p", "question": "cause", "choice1": "x", "choice2": "x", "label": 0}, "equal or empty"),
        (COPA, {"premise": "p", "question": "cause", "choice1": "x", "choice2": " ", "label": 0}, "equal or empty"),
        (QA, {"context": "c", "question": "q", "answers": {"text": []}}, "an empty answer"),
        (QA, {"context": "c", "question": None, "answers": {"text": ["c"]}}, "holds no text"),
    ],
)
def test_faulty_rows_are_named(tmp_path, task, row, fault):
    path = json_lines(tmp_path / "a.jsonl", [row])
    (found,) = faults(prompted_texts, ref("json", path), "train", task, tmp_path)
    assert fault in found
    assert f"{path}:1" in found


@pytest.mark.parametrize(
    ("task", "fault"),
    [
        (TaskRef("t", "generation", answer="{a}"), "needs `prompt`"),
        (TaskRef("t", "generation", prompt="{a}"), "needs `answer`"),
        (TaskRef("t", "generation", prompt="{a}", answer="b", choices=("x", "y")), "no `choices`"),
        (TaskRef("t", "classification", prompt="{a}", choices=("x",)), "needs `choices`"),
        (TaskRef("t", "multiple-choice", prompt="{a}", answer="{b}"), "needs `choices`"),
    ],
)
def test_a_task_has_a_prompt_and_either_an_answer_or_choices(tmp_path, task, fault):
    path = json_lines(tmp_path / "a.jsonl", [{"a": "1"}])
    assert fault in faults(prompted_texts, ref("json", path), "train", task, tmp_path)[0]


def test_rows_of_one_context_stay_together_in_a_hold_out(tmp_path):
    rows = [
        {"context": f"context {number // 4}", "question": f"q{number}", "answers": {"text": ["c"]}}
        for number in range(40)
    ]
    data = ref("json", json_lines(tmp_path / "a.jsonl", rows), hold_out=0.2)
    parts = [
        {one.prompt.text.split("\n")[0] for one in prompted_texts(data, split, QA, tmp_path)}
        for split in ("train", "validation", "test")
    ]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 10


# Tokens.


def test_a_decoder_reads_prompt_answer_and_end_token_as_the_tokenizer_joins_them(tmp_path):
    path = json_lines(tmp_path / "a.jsonl", [{"question": "What is 9 and 9?", "answer_number": 18}])
    (only,) = prompt_tokens(request(ref("json", path), MGSM), tmp_path)
    tokenizer = load_tokenizer(BACKBONE)
    whole = tokenizer("What is 9 and 9?\nAnswer: 18")["input_ids"]
    assert [*only.prompt, *only.answer] == whole
    assert only.prompt[0] == tokenizer.bos_token_id
    assert only.answer[-1] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in only.prompt


def test_a_t5_like_encoder_reads_what_its_tokenizer_makes_of_the_prompt(tmp_path):
    path = json_lines(tmp_path / "a.jsonl", [{"question": "What is 9 and 9?", "answer_number": 18}])
    (only,) = prompt_tokens(request(ref("json", path), MGSM, one_row=False), tmp_path)
    tokenizer = load_tokenizer(BACKBONE)
    assert list(only.prompt) == tokenizer("What is 9 and 9?\nAnswer:")["input_ids"]
    assert list(only.answer) == [*tokenizer(" 18", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]


def test_an_answer_that_the_tokenizer_would_melt_into_the_prompt_is_read_by_itself(tmp_path):
    melting = TaskRef("t", "generation", prompt="{a}", answer="{b}")
    path = json_lines(tmp_path / "a.jsonl", [{"a": "inter", "b": "national"}])
    (only,) = prompt_tokens(request(ref("json", path), melting), tmp_path)
    tokenizer = load_tokenizer(BACKBONE)
    assert list(only.prompt[1:]) == tokenizer("inter", add_special_tokens=False)["input_ids"]
    assert decoded(only.answer).removesuffix("</s>").strip() == "national"


def test_choices_follow_the_prompt_and_carry_no_end_token(tmp_path):
    row = {"premise": "It rained", "question": "effect", "choice1": "It is wet", "choice2": "Dry", "label": 0}
    path = json_lines(tmp_path / "a.jsonl", [row])
    (only,) = prompt_tokens(request(ref("json", path), COPA), tmp_path)
    assert [decoded(choice).strip() for choice in only.choices] == ["It is wet", "Dry"]
    assert decoded(only.answer).strip() == "It is wet</s>"
    assert only.gold == 0


def test_a_long_prompt_loses_the_end_of_its_longest_column_and_nothing_else(tmp_path):
    row = {"context": "word " * 300 + "end", "question": "Where is it?", "answers": {"text": ["word"]}}
    path = json_lines(tmp_path / "a.jsonl", [row, {**row, "context": "a word"}])
    found = prompt_tokens(request(ref("json", path), QA, max_length=64), tmp_path)
    assert found.cut_prompts == 1
    assert len(found[0].prompt) == 64 - 16
    text = decoded(found[0].prompt)
    assert text.startswith("<s> word word")
    assert text.endswith("Q: Where is it? A:")
    assert "end" not in text


def test_a_long_answer_is_cut_and_counted(tmp_path):
    path = json_lines(tmp_path / "a.jsonl", [{"question": "?", "answer_number": "one two three four " * 9}])
    short = TaskRef("t", "generation", prompt="{question}", answer=" {answer_number}", max_new_tokens=8)
    found = prompt_tokens(request(ref("json", path), short), tmp_path)
    assert (found.cut_answers, len(found[0].answer)) == (1, 8)


def test_no_room_for_a_prompt_is_said(tmp_path):
    path = json_lines(tmp_path / "a.jsonl", [{"question": "?", "answer_number": 1}])
    assert "no room for a prompt" in faults(prompt_tokens, request(ref("json", path), MGSM, 64), tmp_path)[0]


@given(st.integers(1, 12), st.lists(st.integers(0, 6), min_size=1, max_size=4))
def test_what_is_shortened_fits_and_keeps_its_end(room, sizes):
    # Columns of these sizes, one token between them and one at the end.
    spans, place = [], 0
    for size in sizes:
        spans.append((place, place + size))
        place += size + 1
    ids = list(range(place))
    found = shortened(ids, [(number, number + 1) for number in ids], spans, room)
    assert len(found) == min(room, len(ids))
    assert found == sorted(found)
    assert found[-1] == ids[-1]


def test_tokens_are_read_from_the_cache_the_second_time(tmp_path):
    path = json_lines(tmp_path / "a.jsonl", [{"question": "1", "answer_number": 1}])
    first = prompt_tokens(request(ref("json", path), MGSM), tmp_path)
    path.unlink()
    again = prompt_tokens(request(ref("json", path), MGSM), tmp_path)
    assert list(first[0].prompt) == list(again[0].prompt)
    other = TaskRef("mgsm", "generation", prompt="Q: {question}", answer=" {answer_number}")
    assert "no such file" in faults(prompt_tokens, request(ref("json", path), other), tmp_path)[0]


@pytest.mark.parametrize(
    ("folder", "task", "columns"),
    [
        ("mgsm/de", MGSM, ()),
        ("americasnli/aym", NLI, ()),
        ("xcopa/et", COPA, ()),
        ("xquad/ar", QA, ()),
        ("tydiqa/sw", QA, ()),
    ],
)
def test_real_data_become_prompts(tmp_path, folder, task, columns):
    data = ref("json", data_folder() / folder / "test.jsonl", split="test", columns=columns)
    found = prompt_tokens(request(data, task, 256, split="test"), tmp_path)
    texts = prompted_texts(data, "test", task, tmp_path)
    assert len(found) == len(texts) > 40
    rows = [json.loads(line) for line in (data_folder() / folder / "test.jsonl").read_text("utf-8").splitlines()]
    if task.choices:
        assert [one.gold for one in found] == [row["label"] for row in rows]
