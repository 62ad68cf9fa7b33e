"""Which examples share a text."""

from __future__ import annotations

import pytest
from data_files import json_lines, ref
from tiny_tasks import CHOICES, INFERENCE, QUESTIONS

from jobs.data.groups import example_groups
from jobs.spec import TaskRef

ASKED = TaskRef("asked", "generation", prompt="{question}", answer="{answer}")


def same(names):
    """Of each example the first one in its group: [0, 1, 0] when the third goes with the first."""
    return [names.index(name) for name in names]


def question(context):
    return {"context": context, "question": "?", "answers": {"text": [context[:1]], "answer_start": [0]}}


def pair(premise):
    return {"premise": premise, "hypothesis": "h", "label": "yes"}


def choice(premise):
    return {"premise": premise, "choice1": "a", "choice2": "b", "question": "cause", "label": 1}


@pytest.mark.parametrize(
    ("task", "made"), [(QUESTIONS, question), (INFERENCE, pair), (CHOICES, choice)], ids=lambda one: str(one)[:20]
)
def test_examples_of_one_context_or_premise_are_one_group(tmp_path, task, made):
    rows = [made(text) for text in ("aa", "bb", "aa", "cc", "bb", "aa")]
    data = ref("json", json_lines(tmp_path / "a.jsonl", rows), "test")
    found = example_groups(data, "test", task, tmp_path)
    assert same(found) == [0, 1, 0, 3, 1, 0]
    assert all(len(name) == 16 for name in found)


def test_examples_that_share_nothing_have_no_groups(tmp_path):
    data = ref("json", json_lines(tmp_path / "a.jsonl", [question("aa"), question("bb")]), "test")
    assert example_groups(data, "test", QUESTIONS, tmp_path) == ()


def test_prompted_rows_are_grouped_by_group_then_context_whatever_the_data_set_calls_it(tmp_path):
    rows = [
        {"passage": "p", "question": "1", "answer": "a"},
        {"passage": "q", "question": "2", "answer": "a"},
        {"passage": "p", "question": "3", "answer": "a"},
        {"passage": "p", "group": 7, "question": "4", "answer": "a"},
        {"passage": "r", "group": 7, "question": "5", "answer": "a"},
    ]
    data = ref("json", json_lines(tmp_path / "a.jsonl", rows), "test", columns=(("context", "passage"),))
    assert same(example_groups(data, "test", ASKED, tmp_path)) == [0, 1, 0, 3, 3]


def test_prompted_rows_without_a_shared_text_stand_alone(tmp_path):
    rows = [{"question": "one and the same", "answer": "a"}] * 3
    data = ref("json", json_lines(tmp_path / "a.jsonl", rows), "test")
    assert example_groups(data, "test", ASKED, tmp_path) == ()


def test_labelled_words_stand_alone(tmp_path):
    assert example_groups(ref("conll", tmp_path / "absent", "test"), "test", TaskRef("ner", "ner"), tmp_path) == ()
