"""Examples as a language model meets them, still as texts: a prompt, and what should follow it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

from jobs.data.load import describe, example_hash, label_names, load_rows
from jobs.data.reading import Faults
from jobs.data.records import label_value
from jobs.data.template import Filled, Template
from jobs.errors import Fault, InputError
from jobs.spec import DataRef, Split, TaskRef

LABEL = "label"


@dataclass(frozen=True, slots=True)
class PromptedText:
    """`answers`: the texts that are right, the first of them the one that is trained on.

    `choices`: the texts whose likelihoods are compared, none where the answer is generated; `gold`: the place of the
    right one, -1 without choices. `examples`: (prompt, answer) of the worked examples that stand before it.
    `asked_among_them`: whether one of those drawn asks the same as the prompt, and gave its place to another.
    """

    prompt: Filled
    answers: tuple[str, ...]
    choices: tuple[str, ...] = ()
    gold: int = -1
    examples: tuple[tuple[str, str], ...] = ()
    asked_among_them: bool = False

    @property
    def answer(self) -> str:
        """The right choice, or the first of the right answers."""
        return self.choices[self.gold] if self.choices else self.answers[0]


@dataclass(frozen=True, slots=True)
class Templates:
    """The templates of a task, parsed. A task has either an answer or choices."""

    prompt: Template
    answer: Template | None
    choices: tuple[Template, ...]

    @classmethod
    def of(cls, task: TaskRef) -> Templates:
        """Parse. Raises InputError for faulty templates, and unless there is a prompt and either answer or choices."""
        where = f"task {task.name}"
        if not task.prompt:
            raise InputError(Fault("a language model needs `prompt`", where, todo="e.g. {question} Answer:"))
        chosen = task.kind in ("classification", "multiple-choice")
        if chosen and (len(task.choices) < 2 or task.answer):
            raise InputError(Fault(f"{task.kind} by a language model needs `choices`, and no `answer`", where))
        if not chosen and (task.choices or not task.answer):
            raise InputError(Fault(f"{task.kind} by a language model needs `answer`, and no `choices`", where))
        prompt = Template.parse(task.prompt, f"{where}: prompt")
        choices = tuple(Template.parse(choice, f"{where}: choices") for choice in task.choices)
        return cls(prompt, None if chosen else Template.parse(task.answer, f"{where}: answer"), choices)


def prompted_texts(data: DataRef, split: Split, task: TaskRef, cache: Path | None = None) -> list[PromptedText]:
    """The examples of a split, in the data's order.

    A classification's label is one of `task.labels`, a number that `data.label_names` names, or a place in
    `task.choices`; a multiple choice's is a place. Raises InputError with every faulty row: a column that a template
    names and the row lacks, an empty answer, a label without a choice, choices that are equal; and when the train split
    that worked examples are drawn from has too few.
    """
    texts = [text for _, _, text in prompted_rows(data, split, task, cache)]
    return texts if task.examples is None else [_shown(one, task.examples.count, _drawn(task, cache)) for one in texts]


def _shown(text: PromptedText, count: int, drawn: Sequence[tuple[str, str]]) -> PromptedText:
    """`text` after `count` of `drawn`, none of which asks the same: no question is shown its own answer."""
    others = (one for one in drawn if one[0] != text.prompt.text)
    same = any(prompt == text.prompt.text for prompt, _ in drawn[:count])
    return replace(text, examples=tuple(islice(others, count)), asked_among_them=same)


@lru_cache(maxsize=32)
def _drawn(task: TaskRef, cache: Path | None) -> tuple[tuple[str, str], ...]:
    """(prompt, answer) of the examples to show and of one to spare, all with prompts of their own.

    They are those whose hashes with the seed are lowest, so neither the order of the data nor repeated rows count.
    """
    wanted = task.examples
    assert wanted is not None
    lowest: list[tuple[int, str, str]] = []
    for _, _, one in prompted_rows(wanted.data, "train", task, cache):
        found = (example_hash((str(wanted.seed), one.prompt.text)), one.prompt.text, one.answer)
        if len(lowest) <= wanted.count or found < lowest[-1]:
            # Of one prompt with several answers the first by the alphabet stays.
            known = [row for row in lowest if row[1] != found[1]]
            same = [row for row in lowest if row[1] == found[1]]
            lowest = sorted([*known, min([*same, found])])[: wanted.count + 1]
    if len(lowest) < wanted.count:
        where, got = (
            f"task {task.name}: examples from {describe(wanted.data)}",
            f"{len(lowest)}, wanted: {wanted.count}",
        )
        raise InputError(Fault("too few rows to draw worked examples from", where, got, "lower `count`"))
    return tuple((prompt, answer) for _, prompt, answer in lowest)


def prompted_rows(
    data: DataRef, split: Split, task: TaskRef, cache: Path | None
) -> Iterator[tuple[str, dict[str, Any], PromptedText]]:
    """(place, row, its texts) one by one. Raises InputError at its end for faulty rows that are not to be skipped."""
    templates = Templates.of(task)
    names = label_names(data, split, task, cache) if task.labels and templates.choices else ()
    labels = partial(label_value, names=names, labels=task.labels, by_place=True, typed=data.source == "json")
    faults, read = Faults(f"{describe(data)} {split}", bool(data.skip_rows)), 0
    for where, row in load_rows(data, split, cache):
        try:
            text = _example(row, where, task, labels, templates)
        except InputError as error:
            faults.add(*error.faults)
            continue
        read += 1
        yield where, row, text
    faults.tell_skipped(read)


def _example(
    row: Mapping[str, Any], where: str, task: TaskRef, value: Callable[[object], object], templates: Templates
) -> PromptedText:
    """`value`: what a label stands for."""
    prompt = templates.prompt.fill(row, where)
    if templates.answer is not None:
        answers = templates.answer.fill_all(row, where)
        if not answers or not all(answer.strip() for answer in answers):
            raise InputError(Fault("an empty answer", where, task.answer))
        return PromptedText(prompt, answers)
    choices = tuple(choice.fill(row, where).text for choice in templates.choices)
    if len(set(choices)) < len(choices) or not all(choice.strip() for choice in choices):
        raise InputError(Fault("choices that are equal or empty", where, ", ".join(map(repr, choices))[:120]))
    gold = _gold(row, where, task, value)
    return PromptedText(prompt, (choices[gold],), choices, gold)


def _gold(row: Mapping[str, Any], where: str, task: TaskRef, value: Callable[[object], object]) -> int:
    """The place of the right choice."""
    if LABEL not in row:
        todo = "say in `columns` what the column of labels is called"
        raise InputError(Fault(f"no column {LABEL!r}", where, f"columns: {', '.join(row)}"[:120], todo))
    label = value(row[LABEL])
    if isinstance(label, str) and label in task.labels:
        label = task.labels.index(label)
    if type(label) is not int or not 0 <= label < len(task.choices):
        known = f"the task knows {', '.join(task.labels)}" if task.labels else f"0 to {len(task.choices) - 1}"
        raise InputError(Fault("a label without a choice", where, repr(label)[:60], known))
    return label
