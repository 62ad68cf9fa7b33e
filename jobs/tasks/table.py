"""The one table of tasks with a head, and what every one of them is checked for."""

from __future__ import annotations

from pathlib import Path

from jobs.errors import Fault, InputError
from jobs.models.madx_backbone import Backbone
from jobs.runtime.phases import phase
from jobs.spec import TaskKind, TaskRef
from jobs.tasks.heads import HeadLayers
from jobs.tasks.masked_lm import MaskedSet, masked_set
from jobs.tasks.pairs import CLASSIFICATION, MULTIPLE_CHOICE
from jobs.tasks.protocol import HeadTask, ScoredSet
from jobs.tasks.question_answering import QUESTION_ANSWERING
from jobs.tasks.tagging import WORDS
from jobs.tokens.evaluation_sets import EvaluationSet, Reader, check_length

TASKS: dict[TaskKind, HeadTask] = {
    "ner": WORDS,
    "pos": WORDS,
    "classification": CLASSIFICATION,
    "qa": QUESTION_ANSWERING,
    "multiple-choice": MULTIPLE_CHOICE,
}


def task_of(task: TaskRef) -> HeadTask:
    """The parts of a task's kind. Raises InputError for kinds that have no head on an encoder."""
    if task.kind not in TASKS:
        todo = f"an encoder has heads for {', '.join(TASKS)}"
        raise InputError(
            Fault("this kind of task needs a language model that writes", f"task {task.name}", task.kind, todo)
        )
    return TASKS[task.kind]


@phase("preparing")
def prepare(evaluation: EvaluationSet, backbone: Backbone, cache: Path) -> ScoredSet | MaskedSet:
    """As `scored_set`; held-out text of masked LM too."""
    if evaluation.task.kind != "masked-lm":
        return scored_set(evaluation, backbone, cache)
    check_length(evaluation.max_length, backbone)
    return masked_set(evaluation, backbone, cache)


@phase("preparing")
def scored_set(evaluation: EvaluationSet, model: Reader, cache: Path) -> ScoredSet:
    """Load, tokenize and batch a set of a task with a head on the model's device.

    Raises InputError for faulty data, and for a `max_length` that the model cannot read.
    """
    check_length(evaluation.max_length, model)
    return task_of(evaluation.task).evaluation(evaluation, model, cache)


def check_head(head: HeadLayers, task: TaskRef, where: Path | str) -> None:
    """Raise InputError unless `head` is one of the task's: type, width, and labels where it has named ones."""
    wanted = task_of(task).head(task)
    if head.type != wanted.type:
        got = f"{head.type}, needed: {wanted.type}"
        raise InputError(Fault("the head is of another type", str(where), got))
    if task.labels and head.labels != task.labels:
        got = f"{', '.join(head.labels)}; the task has {', '.join(task.labels)}"
        raise InputError(Fault("the head was trained for other labels", str(where), got))
    if head.layers[-1][0].shape[0] != wanted.outputs:
        raise InputError(Fault("the head has another width", str(where), str(head.layers[-1][0].shape[0])))
