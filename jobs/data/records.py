"""Labelled rows of three tasks, and the checks that a row is one: pairs of texts, questions on a text, two choices.

Rows of any columns beside them, kept as JSON texts: prompts may name every column of an example.

`jobs.spec.HEAD_COLUMNS` names the columns that a row needs, as this project calls them; `DataRef.columns` says what a
data set calls them. Rows are checked where they are read, so that a fault names its file and line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from jobs.data.reading import Faults, object_rows
from jobs.errors import Fault, InputError
from jobs.spec import HEAD_COLUMNS, TaskKind

Values = dict[str, Any]
# (a row's values by our names, labels that are allowed, place) -> the row to keep, and its faults.
Check = Callable[[Values, Sequence[str], str], tuple[Values, list[Fault]]]

_STRING = datasets.Value("string")
QUESTIONS = ("cause", "effect")
# Columns that a data set may lack, and what stands for theirs: texts of their own are classified without a second one.
_OPTIONAL = ("hypothesis",)
_NO_TEXT = object()
_NUMBER = re.compile(r"-?\d{1,9}")


@dataclass(frozen=True, slots=True)
class Format:
    """The rows of one kind of task. `grouped_by`: rows with equal values here stay together in a hold-out."""

    features: datasets.Features
    check: Check
    grouped_by: str


def format_of(kind: TaskKind) -> Format:
    """The format of a kind's rows. Raises KeyError for kinds that are read otherwise."""
    return _FORMATS[kind]


def _pair(values: Values, labels: Sequence[str], where: str) -> tuple[Values, list[Fault]]:
    texts = [name for name in ("premise", "hypothesis") if values[name] is not _NO_TEXT]
    faults = [fault for name in texts for fault in _text_faults(values, name, where)]
    values = {name: "" if value is _NO_TEXT else value for name, value in values.items()}
    label = values["label"]
    if not isinstance(label, str):
        todo = "name numbered labels in order by label_names" if isinstance(label, int) else "give a string"
        faults.append(Fault("no label", where, repr(label)[:60], todo))
    elif labels and label not in labels:
        faults.append(Fault("a label the task does not have", where, label, f"the task knows: {', '.join(labels)}"))
    return values, faults


def _question(values: Values, labels: Sequence[str], where: str) -> tuple[Values, list[Fault]]:
    faults = [fault for name in ("context", "question") for fault in _text_faults(values, name, where)]
    answers = values["answers"]
    if isinstance(answers, list) and all(isinstance(one, dict) for one in answers):
        answers = {name: [one.get(name) for one in answers] for name in ("text", "answer_start")}
    texts, starts = (answers.get(name) if isinstance(answers, dict) else None for name in ("text", "answer_start"))
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        todo = 'write {"text": [...], "answer_start": [...]} of equal length'
        return values, [*faults, Fault("no answers", where, repr(answers)[:60], todo)]
    if not texts:
        faults.append(Fault("a question without an answer", where, todo="leave unanswerable questions out"))
    if not faults:
        pairs = zip(texts, starts, strict=True)
        faults = [fault for text, start in pairs for fault in _answer_faults(values["context"], text, start, where)]
    return {**values, "answers": {"text": texts, "answer_start": starts}}, faults


def _answer_faults(context: str, text: object, start: object, where: str) -> list[Fault]:
    if not isinstance(text, str) or not text or type(start) is not int:
        return [Fault("not an answer", where, repr((text, start))[:80], "give a string and its place in the context")]
    found = context[start : start + len(text)] if start >= 0 else ""
    if found == text:
        return []
    got = f"{text[:40]!r} at {start}, where the context has {found[:40]!r}"
    place = context.find(text)
    todo = f"it stands at {place}: count characters from 0" if place >= 0 else "it stands nowhere in the context"
    return [Fault("the answer's offset does not fit its context", where, got, todo)]


def _choice(values: Values, labels: Sequence[str], where: str) -> tuple[Values, list[Fault]]:
    faults = [fault for name in ("premise", "choice1", "choice2") for fault in _text_faults(values, name, where)]
    if values["question"] not in QUESTIONS:
        faults.append(Fault("not a question", where, repr(values["question"])[:40], f"use {' or '.join(QUESTIONS)}"))
    if type(values["label"]) is not int or values["label"] not in (0, 1):
        todo = "0 for choice1, 1 for choice2"
        faults.append(Fault("not a label of two choices", where, repr(values["label"])[:40], todo))
    return values, faults


def _text_faults(values: Values, name: str, where: str) -> list[Fault]:
    text = values[name]
    if isinstance(text, str) and text.strip():
        return []
    return [Fault(f"no {name}", where, repr(text)[:60], "give a text, or name its column in `columns`")]


_FORMATS: dict[TaskKind, Format] = {
    "classification": Format(
        datasets.Features({"premise": _STRING, "hypothesis": _STRING, "label": _STRING}),
        _pair,
        "premise",
    ),
    "qa": Format(
        datasets.Features(
            {
                "context": _STRING,
                "question": _STRING,
                "answers": {"text": datasets.List(_STRING), "answer_start": datasets.List(datasets.Value("int64"))},
            }
        ),
        _question,
        "context",
    ),
    "multiple-choice": Format(
        datasets.Features(
            {**dict.fromkeys(("premise", "choice1", "choice2", "question"), _STRING), "label": datasets.Value("int64")}
        ),
        _choice,
        "premise",
    ),
}


def label_value(
    label: object, names: Sequence[str], labels: Sequence[str], by_place: bool = False, typed: bool = False
) -> object:
    """What a row's label stands for, to heads and prompts alike: a number's name if it has one, or what stands there.

    A text of digits is a number where numbers mean something: they have `names`, in order, or are places (`by_place`).
    A text that is one of the task's `labels`, or of the names, stays that text; but where numbers have names and the
    source does not tell them from texts (`typed` does, as JSON), it is a number too: all rows are read alike, "0"
    beside "1", though "1" may be a name.
    """
    if isinstance(label, str) and (names or by_place) and _NUMBER.fullmatch(label):
        itself = label in labels or label in names
        if not itself or (names and not typed):
            label = int(label)
    if type(label) is int and 0 <= label < len(names):
        return names[label]
    return label


@dataclass(frozen=True, slots=True)
class Reading:
    """How rows are read: `columns` our name -> the data set's; `names` of numbered labels; `labels` of the task."""

    kind: TaskKind
    columns: tuple[tuple[str, str], ...]
    names: tuple[str, ...]
    labels: tuple[str, ...]

    def places(self) -> dict[str, str]:
        """Our name -> the data set's, for every column that it has. Raises InputError for a name that the kind does not
        have, and for an empty one of a column that cannot be left out.
        """
        known = HEAD_COLUMNS[self.kind]
        given = dict(self.columns)
        wrong = sorted(set(given) - set(known))
        if wrong:
            raise InputError(Fault("unknown columns", "columns", ", ".join(wrong), f"known: {', '.join(known)}"))
        if nameless := [name for name in known if not given.get(name, name) and name not in _OPTIONAL]:
            raise InputError(Fault("a column without a name", "columns", ", ".join(nameless), "say what it is called"))
        return {name: given.get(name, name) for name in known if given.get(name, name)}

    def row(self, found: Mapping[str, Any], where: str, faults: Faults, typed: bool = False) -> Values | None:
        """One row by our names; None, with its faults noted, when it is none. `typed`: see `label_value`."""
        places = self.places()
        absent = [column for column in places.values() if column not in found]
        if absent:
            got = f"columns: {', '.join(map(repr, found))}"[:120]
            faults.add(Fault(f"no column {absent[0]!r}", where, got, "say in `columns` what it is called"))
            return None
        values = {name: found[places[name]] if name in places else _NO_TEXT for name in HEAD_COLUMNS[self.kind]}
        if "label" in values:
            by_place = self.kind == "multiple-choice"
            names = () if by_place else self.names
            values["label"] = label_value(values["label"], names, self.labels, by_place, typed)
        row, wrong = format_of(self.kind).check(values, self.labels, where)
        faults.add(*wrong)
        return None if wrong else row


def record_rows(
    source: str, path: str, reading: Reading, state: object = None, skip: bool = False, faults: Faults | None = None
) -> Iterator[Values]:
    """The rows of a JSON or CSV file. Raises InputError at its end when a row was faulty; with `skip` none of those."""
    faults = faults or Faults(path, skip)
    for number, found in object_rows(source, Path(path), faults):
        row = reading.row(found, f"{path}:{number}", faults, typed=source == "json")
        if row is not None and not faults.refused:
            yield row
    faults.raise_any()


# `where`: the row's place for messages; `group`: rows with the same one stay together in a hold-out.
ROW = datasets.Features(dict.fromkeys(("where", "row", "group"), datasets.Value("string")))
_GROUPED_BY = ("group", "context", "premise")


def shared_text(row: Mapping[str, Any]) -> str:
    """What a row shares with others: its `group`, else its context, else its premise; "" without any."""
    return next((str(row[name]) for name in _GROUPED_BY if row.get(name) not in (None, "")), "")


def row_text(row: Mapping[str, Any], where: str) -> dict[str, str]:
    """One row of `ROW`. Raises InputError for values that JSON does not know (images, dates)."""
    try:
        text = json.dumps(row, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise InputError(Fault("a row that is no JSON object", where, str(error)[:80])) from error
    return {"where": where, "row": text, "group": shared_text(row) or text}


def row_texts(
    source: str, path: str, state: object = None, skip: bool = False, faults: Faults | None = None
) -> Iterator[dict[str, str]]:
    """Rows of a JSON or CSV file. Raises InputError at its end when a line was faulty; with `skip` it is left out."""
    faults = faults or Faults(path, skip)
    for number, row in object_rows(source, Path(path), faults):
        if not faults.refused:
            yield row_text(row, f"{path}:{number}")
    faults.raise_any()
