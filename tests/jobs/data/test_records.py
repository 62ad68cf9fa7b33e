"""Rows of pairs, questions and choices: where they come from, what is refused and how it is said."""

from __future__ import annotations

import dataclasses
import json

import datasets
import pytest
from data_files import data_folder, json_lines, ref
from tiny_tasks import CHOICES, INFERENCE, QUESTIONS

from jobs.data.load import load_records, load_rows, load_text
from jobs.data.resolve import DIRECTORY, DataRequest, data_ref
from jobs.errors import InputError
from jobs.spec import DataRef, TaskRef

PAIR = {"premise": "它在下雨", "hypothesis": "it rains", "label": "yes"}
QUESTION = {"context": "Ναι, 東京 it is.", "question": "Where?", "answers": {"text": ["東京"], "answer_start": [5]}}
CHOICE = {"premise": "p", "choice1": "a", "choice2": "b", "question": "cause", "label": 1}


def faults(rows, task, tmp_path, **changes):
    data = ref("json", json_lines(tmp_path / "a.jsonl", rows), **changes)
    with pytest.raises(InputError) as caught:
        load_records(data, "train", task, tmp_path)
    return [str(fault).replace(str(tmp_path), "") for fault in caught.value.faults]


def rows_of(rows, task, tmp_path, **changes):
    return list(load_records(ref("json", json_lines(tmp_path / "a.jsonl", rows), **changes), "train", task, tmp_path))


def test_rows_are_read_in_every_script(tmp_path):
    assert rows_of([{**PAIR, "extra": 1}], INFERENCE, tmp_path) == [PAIR]
    assert rows_of([QUESTION], QUESTIONS, tmp_path) == [QUESTION]
    assert rows_of([CHOICE], CHOICES, tmp_path) == [CHOICE]


def test_columns_have_the_data_set_s_names_and_numbers_the_labels(tmp_path):
    columns = (("hypothesis", "sentence2"), ("premise", "sentence1"))
    row = {"sentence1": PAIR["premise"], "sentence2": PAIR["hypothesis"], "label": 0}
    assert rows_of([row], INFERENCE, tmp_path, columns=columns, label_names=INFERENCE.labels) == [PAIR]
    (said,) = faults([row], INFERENCE, tmp_path, columns=(("sentence", "sentence1"),))
    assert said == "columns: unknown columns (got sentence); known: premise, hypothesis, label"
    (said,) = faults([row], INFERENCE, tmp_path)
    assert said.startswith("/a.jsonl:1: no column 'premise' (got columns: 'sentence1'") and "`columns`" in said


def test_texts_may_stand_alone(tmp_path):
    alone = (("hypothesis", ""), ("premise", "text"))
    found = rows_of([{"text": "it rains", "label": "yes"}], INFERENCE, tmp_path, columns=alone)
    assert found == [{"premise": "it rains", "hypothesis": "", "label": "yes"}]
    (said,) = faults([{"text": "", "label": "yes"}], INFERENCE, tmp_path, columns=alone)
    assert said.startswith("/a.jsonl:1: no premise")
    (said,) = faults([PAIR], INFERENCE, tmp_path, columns=(("premise", ""),))
    assert said == "columns: a column without a name (got premise); say what it is called"
    (said,) = faults([{**PAIR, "hypothesis": ""}], INFERENCE, tmp_path)
    assert said.startswith("/a.jsonl:1: no hypothesis")


def test_a_label_that_differs_from_the_task_s_is_named_with_its_row(tmp_path):
    said = faults([PAIR, {**PAIR, "label": "neutral"}, {**PAIR, "label": 7}], INFERENCE, tmp_path)
    assert said == [
        "/a.jsonl:2: a label the task does not have (got neutral); the task knows: yes, perhaps, no",
        "/a.jsonl:3: no label (got 7); name numbered labels in order by label_names",
    ]


def test_an_answer_whose_offset_does_not_fit_names_row_and_text(tmp_path):
    def answered(text, start):
        return {**QUESTION, "answers": {"text": [text], "answer_start": [start]}}

    said = faults([QUESTION, answered("東京", 4), answered("京都", 5), answered("東京", -1)], QUESTIONS, tmp_path)
    assert said[0] == (
        "/a.jsonl:2: the answer's offset does not fit its context (got '東京' at 4, where the context has ' 東'); "
        "it stands at 5: count characters from 0"
    )
    assert said[1].startswith("/a.jsonl:3: ") and said[1].endswith("it stands nowhere in the context")
    assert "at -1" in said[2]


def test_questions_without_a_usable_answer_are_refused(tmp_path):
    wrong = [{"text": [], "answer_start": []}, {"text": ["a"], "answer_start": []}, None, [{"text": "x"}]]
    said = faults([{**QUESTION, "answers": answers} for answers in wrong], QUESTIONS, tmp_path)
    assert "leave unanswerable questions out" in said[0]
    assert all("no answers" in one for one in said[1:3]) and "not an answer" in said[3]


def test_answers_may_be_a_list_of_objects(tmp_path):
    row = {**QUESTION, "answers": [{"text": "東京", "answer_start": 5}]}
    assert rows_of([row], QUESTIONS, tmp_path) == [QUESTION]


@pytest.mark.parametrize(("key", "value"), [("label", 2), ("label", True), ("question", "why"), ("choice2", " ")])
def test_rows_that_are_no_choices_are_refused(tmp_path, key, value):
    (said,) = faults([{**CHOICE, key: value}], CHOICES, tmp_path)
    assert said.startswith("/a.jsonl:1: ")


def test_a_source_without_columns_is_refused(tmp_path):
    data = DataRef("text", "gl", "sha256:0", files=(("train", "x"),))
    with pytest.raises(InputError, match="no qa data from this source"):
        load_records(data, "train", QUESTIONS, tmp_path)


def test_half_of_a_file_is_validation_and_the_other_half_test_in_their_order(tmp_path):
    json_lines(tmp_path / "all.jsonl", [{**CHOICE, "premise": str(number)} for number in range(7)])
    request = DataRequest(
        "json", "gl", str(tmp_path / "{split}.jsonl"), needed=("validation", "test"),
        splits=(("test", "all[50%:]"), ("validation", "all[:50%]")),
    )  # fmt: skip
    data = data_ref(request, tmp_path / "cache")
    parts = [load_records(data, split, CHOICES, tmp_path)["premise"] for split in ("validation", "test")]
    assert [*map(list, parts)] == [list("0123"), list("456")]
    wrong = dataclasses.replace(data, splits=(("validation", "all[half]"),))
    with pytest.raises(InputError, match="not a slice"):
        load_records(wrong, "validation", CHOICES, tmp_path)


def test_a_local_directory_in_the_hub_s_layout_gives_class_names_and_slices(tmp_path):
    features = datasets.Features(
        {
            "premise": datasets.Value("string"),
            "hypothesis": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["no", "yes"]),
        }
    )
    table = datasets.Dataset.from_list([{**PAIR, "label": n % 2} for n in range(4)], features=features)
    (tmp_path / "set" / "data").mkdir(parents=True)
    table.to_parquet(tmp_path / "set" / "data" / "test-00000-of-00001.parquet")
    info = {"dataset_info": {"features": [
        {"name": "premise", "dtype": "string"}, {"name": "hypothesis", "dtype": "string"},
        {"name": "label", "dtype": {"class_label": {"names": {"0": "no", "1": "yes"}}}},
    ]}}  # fmt: skip
    (tmp_path / "set" / "README.md").write_text(f"---\n{json.dumps(info)}\n---\n")
    data = DataRef(
        "hub", "gl", "1", dataset="set", splits=(("validation", "test[:50%]"), ("test", "test[50%:]")),
        files=((DIRECTORY, str(tmp_path / "set")),),
    )  # fmt: skip
    task = TaskRef("inference", "classification", ("yes", "no"))
    rows = load_records(data, "validation", task, tmp_path / "cache")
    assert rows["label"] == ["no", "yes"] and len(load_records(data, "test", task, tmp_path / "cache")) == 2
    with pytest.raises(InputError, match="row 1: a label the task does not have"):
        load_records(data, "test", TaskRef("inference", "classification", ("no", "other")), tmp_path / "cache")


def test_a_hold_out_keeps_the_rows_of_one_premise_together(tmp_path):
    rows = [{**PAIR, "premise": f"p{number // 3}", "hypothesis": str(number)} for number in range(60)]
    data = ref("json", json_lines(tmp_path / "a.jsonl", rows), hold_out=0.2)
    parts = [
        set(load_records(data, split, INFERENCE, tmp_path)["premise"]) for split in ("train", "validation", "test")
    ]
    assert [len(part) for part in parts] == [12, 4, 4] and len(set.union(*parts)) == 20


@pytest.mark.parametrize(
    ("folder", "task"),
    [
        ("americasnli/gn", TaskRef("i", "classification", ("entailment", "neutral", "contradiction"))),
        ("xquad/zh", QUESTIONS),
        ("xquad/ar", QUESTIONS),
        ("tydiqa/fi", QUESTIONS),
        ("xcopa/ta", CHOICES),
    ],
)
def test_real_rows_are_read(tmp_path, folder, task):
    names = ("entailment", "neutral", "contradiction")
    data = ref("json", data_folder() / folder / "validation.jsonl", "validation", label_names=names)
    assert len(load_records(data, "validation", task, tmp_path)) >= 50


@pytest.mark.parametrize("indent", [None, 2])
def test_a_question_file_is_read_as_squad_publishes_it(tmp_path, indent):
    context, asked = QUESTION["context"], {"question": "Where?", "answers": [{"text": "東京", "answer_start": 5}]}
    paragraphs = [{"context": context, "qas": [{"id": "1", **asked}, {"id": "2", **asked}]}]
    document = {"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}, {"paragraphs": paragraphs}]}
    path = tmp_path / "squad.json"
    path.write_text(json.dumps(document, ensure_ascii=False, indent=indent), encoding="utf-8")
    assert list(load_records(ref("json", path), "train", QUESTIONS, tmp_path)) == [QUESTION] * 4
    document["data"][1]["paragraphs"][0]["qas"] = "none"
    path.write_text(json.dumps(document, indent=indent), encoding="utf-8")
    with pytest.raises(InputError, match="not a question file in SQuAD's form"):
        load_records(ref("json", path), "train", QUESTIONS, tmp_path)


@pytest.mark.parametrize(("kind", "separator"), [("csv", ","), ("csv", ";"), ("tsv", "\t")])
def test_tables_are_read_as_they_stand(tmp_path, kind, separator):
    rows = [("premise", "hypothesis", "label"), ("None", "NA", "yes"), ('"two\nlines"', f'"a{separator}b"', "no")]
    path = tmp_path / f"a.{kind}"
    path.write_text("".join(separator.join(row) + "\n" for row in rows), encoding="utf-8-sig")
    found = load_records(ref("csv", path), "train", INFERENCE, tmp_path)
    assert [tuple(row.values()) for row in found] == [("None", "NA", "yes"), ("two\nlines", f"a{separator}b", "no")]
    assert [row["premise"] for _, row in load_rows(ref("csv", path), "train", tmp_path)] == ["None", "two\nlines"]
    texts = load_text(ref("csv", path, text_column="hypothesis"), "train", tmp_path)
    assert list(texts) == ["NA", f"a{separator}b"]


def test_numbered_labels_of_a_table_are_numbers_where_they_have_names(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("premise,hypothesis,label\na,b,2\nc,d,-1\n")
    with pytest.raises(InputError, match=r"a\.csv:3: no label \(got -1\)"):
        load_records(ref("csv", path, label_names=INFERENCE.labels), "train", INFERENCE, tmp_path)
    path.write_text("premise,choice1,choice2,question,label\np,a,b,cause,1\n")
    assert load_records(ref("csv", path), "train", CHOICES, tmp_path)[0]["label"] == 1


def test_rows_of_a_table_that_lack_a_field_and_open_quotes_are_faults(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('premise,hypothesis,label\na,b\nc,d,yes\n"e,f,no\n')
    with pytest.raises(InputError) as caught:
        load_records(ref("csv", path), "train", INFERENCE, tmp_path)
    said = [str(fault) for fault in caught.value.faults]
    assert "a.csv:2: a row with more or fewer fields than columns (got 2 of 3)" in said[0]
    assert "a.csv:4: not a row of a table" in said[1]
