"""Windows over long contexts, and pairs cut to their length, with a real tokenizer and a tiny one."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise

import pytest
from data_files import data_folder, json_lines, ref
from tiny_backbone import make_backbone
from tiny_tasks import CHOICES, INFERENCE

from jobs.backbones import embedded_backbone
from jobs.data.load import load_records
from jobs.errors import InputError
from jobs.files.digest import directory_digest
from jobs.spec import BackboneRef, TaskRef
from jobs.tokens.token_pairs import token_pairs
from jobs.tokens.token_windows import NOWHERE, token_windows
from jobs.tokens.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_backbone(tmp_path_factory.mktemp("tiny"))


def asked(words, question="w1 w2", answer=0):
    context = " ".join(f"w{number}" for number in words)
    text = f"w{words[answer]}"
    start = len(" ".join(f"w{number}" for number in words[:answer])) + bool(answer)
    return {"context": context, "question": question, "answers": {"text": [text], "answer_start": [start]}}


def windows_of(rows, backbone, tmp_path, length=20, stride=3):
    data = ref("json", json_lines(tmp_path / "a.jsonl", rows))
    return token_windows(data, "train", TaskRef("q", "qa", stride=stride), backbone, length, tmp_path)


def test_windows_cover_the_context_and_share_the_stride(tiny, tmp_path):
    words = list(range(10, 50))
    found = windows_of([asked(words, answer=20), asked([7, 8])], tiny, tmp_path)
    first = [window for window in found if window.question == 0]
    covered = [set(window.begins[window.begins != NOWHERE].tolist()) for window in first]
    assert len(covered) == 4 and found.questions == 2 and len(found) == 5
    assert all(len(a & b) == 3 for a, b in pairwise(covered))
    assert set.union(*covered) == {4 * place for place in range(40)}
    holding = [window for window in first if window.answer[1]]
    assert holding and all(window.begins[window.answer[0]] == 80 for window in holding)
    assert all(list(window.answer) == [0, 0] for window in first if 80 not in window.begins)


def test_a_long_context_without_a_stride_is_refused_with_its_row(tiny, tmp_path):
    rows = [asked([1, 2]), asked(list(range(30)))]
    with pytest.raises(InputError, match=r"row 1: the context is longer than the window \(got 35 tokens.*set the task"):
        windows_of(rows, tiny, tmp_path, stride=0)
    longer = [*rows, asked(list(range(33)))]
    with pytest.raises(
        InputError, match="the window has 20; so are those of 1 more rows, the longest of 38"
    ) as refused:
        windows_of(longer, tiny, tmp_path, stride=0)
    assert len(refused.value.faults) == 1
    assert len(windows_of(rows, tiny, tmp_path, length=40, stride=0)) == 2


def test_a_long_question_is_cut_to_half_of_the_window_and_counted(tiny, tmp_path):
    rows = [asked(list(range(30)), question=" ".join(f"w{number}" for number in range(25))), asked([1, 2])]
    found = windows_of(rows, tiny, tmp_path)
    assert found.cut_questions == 1
    assert all(len(window.input_ids) <= 20 for window in found)
    assert int((found[0].begins == NOWHERE).sum()) == 8 + 3, "the question and the special tokens"


def test_a_stride_that_leaves_nothing_new_is_refused(tiny, tmp_path):
    with pytest.raises(InputError, match="stride 7, max_length 20"):
        windows_of([asked([1, 2])], tiny, tmp_path, stride=7)


@pytest.mark.parametrize("language", ["en", "ar", "de"])
def test_places_of_real_answers_give_back_their_texts(tmp_path, language):
    folder = embedded_backbone()
    backbone = BackboneRef("cldr-mini", directory_digest(folder), str(folder))
    data = ref("json", data_folder() / "xquad" / language / "validation.jsonl", "validation")
    task = TaskRef("questions", "qa", stride=32)
    found = token_windows(data, "validation", task, backbone, 128, tmp_path)
    rows = load_records(data, "validation", task, tmp_path)
    answered, exact = set(), 0
    for window in (window for window in found if window.answer[1]):
        row = rows[window.question]
        text = row["context"][window.begins[window.answer[0]] : window.ends[window.answer[1]]]
        assert row["answers"]["text"][0] in text
        exact += text.strip() == row["answers"]["text"][0]
        answered.add(window.question)
    assert len(answered) > 0.9 * found.questions and exact > 0.9 * len(answered)


def test_pairs_that_are_too_long_are_cut_and_counted(tiny, tmp_path):
    rows = [
        {"premise": " ".join(["w1"] * size), "choice1": "w2", "choice2": "w3 w4", "question": "cause", "label": 0}
        for size in (3, 30)
    ]
    pairs = token_pairs(ref("json", json_lines(tmp_path / "a.jsonl", rows)), "train", CHOICES, tiny, 16, tmp_path)
    assert pairs.truncated == 2 and [pair.label for pair in pairs] == [1, 0, 1, 0]
    assert max(pairs.lengths) == 16 and list(pairs[2].input_ids[-2:]) == [7, 2], "the shorter text keeps its tokens"


def test_a_text_that_stands_alone_is_a_row_as_the_tokenizer_makes_it(tiny, tmp_path):
    texts = ["w1 w2", " ".join(["w3"] * 30)]
    path = json_lines(tmp_path / "a.jsonl", [{"text": text, "label": "no"} for text in texts])
    data = ref("json", path, columns=(("premise", "text"), ("hypothesis", "")))
    found = token_pairs(data, "train", INFERENCE, tiny, 16, tmp_path)
    expected = [load_tokenizer(tiny)(text, truncation=True, max_length=16)["input_ids"] for text in texts]
    assert [pair.input_ids.tolist() for pair in found] == expected and found.truncated == 1
    assert [pair.label for pair in found] == [2, 2]


def test_a_tokenizer_that_joins_no_two_texts_is_refused(tiny, tmp_path):
    folder = shutil.copytree(tiny.path, tmp_path / "model")
    document = json.loads((folder / "tokenizer.json").read_text())
    document["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(document))
    backbone = BackboneRef("bare", directory_digest(folder), str(folder))
    with pytest.raises(InputError, match="cannot join two texts"):
        windows_of([asked([1, 2])], backbone, tmp_path)
