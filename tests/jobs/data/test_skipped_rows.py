"""`skip_rows: invalid`: what can be read is read, of every source; how many rows are left out is said each time."""

import json
import logging

import datasets
import pytest
from data_files import SENTENCES, json_lines, ref, row, write

from jobs.data.groups import example_groups
from jobs.data.load import load_records, load_tagged, load_text
from jobs.data.prompts import prompted_texts
from jobs.errors import InputError
from jobs.spec import DataRef, TaskRef
from jobs.spec.identity import canonical_json

SKIP = {"skip_rows": "invalid"}
NLI = TaskRef("nli", "classification", ("yes", "no"))
QUESTION = TaskRef("q", "generation", prompt="{question}", answer=" {answer}", metric="number_match")


@pytest.fixture
def said(caplog):
    """How many rows the log says were left out, and how the first one's fault begins."""
    caplog.set_level(logging.WARNING, logger="jobs.data.reading")
    return lambda: [(record.args[1], str(record.args[2])) for record in caplog.records]


def pairs(*labels):
    return [{"premise": f"p{place}", "hypothesis": "h", "label": label} for place, label in enumerate(labels)]


def test_lines_that_are_no_json_and_rows_without_text_are_left_out_and_counted_each_time(tmp_path, said):
    good = ['{"text": "one"}', '{"text": "two"}']
    path = write(tmp_path / "a.jsonl", "\n".join([good[0], "{no", '{"text": 3}', '{"other": "x"}', good[1]]) + "\n")
    assert list(load_text(ref("json", path, **SKIP), "train", tmp_path)) == ["one", "two"]
    assert list(load_text(ref("json", path, **SKIP), "train", tmp_path)) == ["one", "two"]
    assert [count for count, _ in said()] == [3, 3] and f"{path}:2" in said()[0][1]
    with pytest.raises(InputError) as refused:
        load_text(ref("json", path), "train", tmp_path)
    assert len(refused.value.faults) == 3


def test_a_row_of_several_faults_is_one_row(tmp_path, said):
    rows = [row(SENTENCES[0]), {"tokens": [1, 2], "ner_tags": [None]}, row(SENTENCES[1])]
    data = ref("json", json_lines(tmp_path / "a.jsonl", rows), **SKIP)
    assert list(load_tagged(data, "train", tmp_path)) == SENTENCES[:2]
    assert [count for count, _ in said()] == [1]


def test_a_conll_sentence_with_a_faulty_line_is_left_out_whole(tmp_path, said):
    text = "Vigo\tB-LOC\n\nA\tO\nlost\nB\tO\n\nnova\tB-LOC\n"
    data = ref("conll", write(tmp_path / "a.conll", text), **SKIP)
    assert [one.tokens for one in load_tagged(data, "train", tmp_path)] == [("Vigo",), ("nova",)]
    assert [count for count, _ in said()] == [1]


def test_a_sentence_that_lost_a_line_to_another_encoding_is_left_out(tmp_path):
    path = tmp_path / "a.conll"
    path.write_bytes(b"Vigo\tB-LOC\n\nA\tO\n\xff\tO\nB\tO\n\nnova\tB-LOC\n")
    assert [one.tokens for one in load_tagged(ref("conll", path, **SKIP), "train", tmp_path)] == [("Vigo",), ("nova",)]


@pytest.mark.parametrize("source", ["json", "csv"])
def test_rows_with_a_label_that_the_task_does_not_have_are_left_out(tmp_path, said, source):
    if source == "json":
        path = json_lines(tmp_path / "a.jsonl", pairs("yes", "-", "no"))
    else:
        path = write(tmp_path / "a.csv", "premise,hypothesis,label\np0,h,yes\np1,h,-\np2,h,no\ntoo,many,no,fields\n")
    found = load_records(ref(source, path, **SKIP), "train", NLI, tmp_path)
    assert (found["premise"], found["label"]) == (["p0", "p2"], ["yes", "no"])
    assert [count for count, _ in said()] == [1 if source == "json" else 2]


def test_hub_rows_are_left_out_too(tmp_path, said):
    folder = tmp_path / "set"
    folder.mkdir()
    datasets.Dataset.from_list(pairs("yes", "-", "no")).to_parquet(folder / "train-00000-of-00001.parquet")
    data = DataRef("hub", "gl", "0", "set", files=(("directory", str(folder)),), **SKIP)
    assert load_records(data, "train", NLI, tmp_path)["label"] == ["yes", "no"]
    assert [count for count, _ in said()] == [1]


def test_prompts_and_the_groups_of_their_rows_leave_out_the_same(tmp_path):
    rows = [
        {"question": "a", "answer": 1, "context": "c"},
        {"question": "b", "context": "c"},
        {"question": "d", "answer": 2, "context": "e"},
        {"question": "f", "answer": 3, "context": "c"},
    ]
    data = ref("json", json_lines(tmp_path / "a.jsonl", rows), **SKIP)
    texts = prompted_texts(data, "train", QUESTION, tmp_path)
    groups = example_groups(data, "train", QUESTION, tmp_path)
    assert [one.prompt.text for one in texts] == ["a", "d", "f"]
    assert len(groups) == 3 and groups[0] == groups[2] != groups[1]


def test_a_file_without_a_single_good_row_is_refused_with_its_faults(tmp_path):
    path = write(tmp_path / "a.jsonl", "{no\n{neither\n")
    with pytest.raises(InputError) as refused:
        load_text(ref("json", path, **SKIP), "train", tmp_path)
    assert [fault.what for fault in refused.value.faults] == ["not valid JSON"] * 2


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.jsonl"])
def test_what_spoils_a_whole_file_is_no_row_to_skip(tmp_path, name):
    path = tmp_path / name
    if name == "a.json":
        path.write_text("[" + json.dumps({"text": "one"}) + ", {")
    elif name == "a.csv":
        path.write_text('text,n\none,1\n"two" x,2\nthree,3\n')
    else:
        path.write_bytes(b"\x1f\x8b\x08\x00" + b"\x00" * 30)
    with pytest.raises(InputError):
        load_text(ref("csv" if name == "a.csv" else "json", path, **SKIP), "train", tmp_path)


def test_only_where_it_is_said_it_is_part_of_the_identity(tmp_path):
    path = json_lines(tmp_path / "a.jsonl", pairs("yes"))
    assert "skip_rows" not in canonical_json(ref("json", path))
    assert "skip_rows" in canonical_json(ref("json", path, **SKIP))
