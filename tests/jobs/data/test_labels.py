"""A label is read as the same one by a head and by a prompt, whatever the file."""

from __future__ import annotations

import dataclasses

import datasets
import pytest
from data_files import json_lines, ref, write

from jobs.data.load import load_records
from jobs.data.prompts import prompted_texts
from jobs.errors import InputError
from jobs.spec import DataRef, TaskRef

STARS = ("1", "2", "3")
WORDS = ("no", "perhaps", "yes")
CHOICES = (" a", " b", " c")


def task(labels):
    return TaskRef("t", "classification", labels)


def by_head(data, labels, cache, split="train"):
    return [row["label"] for row in load_records(data, split, task(labels), cache)]


def by_prompt(data, labels, cache, split="train"):
    asked = dataclasses.replace(task(labels), prompt="{premise}", choices=CHOICES)
    return [labels[one.gold] for one in prompted_texts(data, split, asked, cache)]


def file_of(tmp_path, source, found):
    """Rows with the labels `found`, as this source writes them."""
    if source == "json":
        rows = [{"premise": f"p{n}", "hypothesis": "h", "label": label} for n, label in enumerate(found)]
        return json_lines(tmp_path / "a.jsonl", rows)
    write(tmp_path / "a.csv", "premise,hypothesis,label\n" + "".join(f"p{n},h,{one}\n" for n, one in enumerate(found)))
    return tmp_path / "a.csv"


@pytest.mark.parametrize(
    ("source", "found", "names", "labels", "expected"),
    [
        ("csv", ["2", "0"], WORDS, WORDS, ["yes", "no"]),  # numbers with names
        ("csv", ["2", "0"], STARS, STARS, ["3", "1"]),  # "2" is a name too, but "0" can be nothing else than a number
        ("csv", ["2", "1"], (), STARS, ["2", "1"]),  # the labels themselves
        ("csv", ["yes", "0"], WORDS, WORDS, ["yes", "no"]),
        ("csv", ["2", "0"], ("yes", "perhaps", "no"), WORDS, ["no", "yes"]),  # names in another order than the labels
        ("json", ["2", "1"], STARS, STARS, ["2", "1"]),  # a text of JSON is one
        ("json", [2, 0], STARS, STARS, ["3", "1"]),
        ("json", ["2", "0"], WORDS, WORDS, ["yes", "no"]),  # unless it can be nothing else than a number
        ("json", ["yes", 0], WORDS, WORDS, ["yes", "no"]),
    ],
)
def test_heads_and_prompts_read_one_label(tmp_path, source, found, names, labels, expected):
    data = ref(source, file_of(tmp_path, source, found), label_names=names)
    assert by_head(data, labels, tmp_path / "cache") == expected
    assert by_prompt(data, labels, tmp_path / "cache") == expected


@pytest.mark.parametrize("read", [by_head, by_prompt])
@pytest.mark.parametrize(
    ("source", "label", "names", "got"),
    [
        ("csv", "3", STARS, "got 3"),  # not the last name: all rows count from 0
        ("csv", "-1", WORDS, "got -1"),
        ("json", True, WORDS, "got True"),
        ("csv", "1.0", WORDS, "got '?1.0'?"),
        ("json", "neither", WORDS, "got '?neither'?"),
    ],
)
def test_what_is_no_label_is_none_for_both(tmp_path, read, source, label, names, got):
    data = ref(source, file_of(tmp_path, source, [label]), label_names=names)
    with pytest.raises(InputError, match=rf"label.*{got}"):
        read(data, names, tmp_path / "cache")


@pytest.mark.parametrize(("source", "label"), [("csv", "1"), ("json", "1"), ("json", 1)])
def test_places_of_choices_are_numbers(tmp_path, source, label):
    row = {"premise": "p", "question": "cause", "choice1": "x", "choice2": "y", "label": label}
    if source == "csv":
        write(tmp_path / "a.csv", f"{','.join(row)}\n{','.join(row.values())}\n")
    path = json_lines(tmp_path / "a.jsonl", [row]) if source == "json" else tmp_path / "a.csv"
    copa = TaskRef("copa", "multiple-choice")
    assert load_records(ref(source, path), "train", copa, tmp_path / "cache")[0]["label"] == 1
    asked = dataclasses.replace(copa, prompt="{premise}", choices=(" {choice1}", " {choice2}"))
    (only,) = prompted_texts(ref(source, path), "train", asked, tmp_path / "cache")
    assert (only.gold, only.answer) == (1, " y")


def test_classes_of_a_hub_s_table_name_its_numbers(tmp_path):
    """In the data set's order, which is not the task's."""
    names = ["yes", "no", "perhaps"]
    features = datasets.Features(
        {
            "premise": datasets.Value("string"),
            "hypothesis": datasets.Value("string"),
            "label": datasets.ClassLabel(names=names),
        }
    )
    rows = {"premise": [f"p{n}" for n in range(30)], "hypothesis": ["h"] * 30, "label": [0, 1, 2] * 10}
    (folder := tmp_path / "set").mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "train.parquet")
    data, cache = DataRef("hub", "gl", "sha256:0", "set", files=(("directory", str(folder)),)), tmp_path / "cache"
    assert by_head(data, WORDS, cache) == by_prompt(data, WORDS, cache) == names * 10
    # Where the task's labels are others, numbers are places.
    assert by_prompt(data, ("A", "B", "C"), cache) == ["A", "B", "C"] * 10
    cut = dataclasses.replace(data, hold_out=0.3)
    held_out = by_prompt(cut, WORDS, cache, "validation")
    assert held_out == by_head(cut, WORDS, cache, "validation") and len(set(held_out)) > 1
