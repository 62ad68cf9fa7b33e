"""The part of a task that a language model needs: what it is asked, and how its answer is read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from jobs.backbones import embedded_backbone
from jobs.data.template import Template
from jobs.errors import InputError
from jobs.scoring.pieces import pieces_digest
from jobs.spec import TAGGING, ChoiceScore, TaskKind, is_language_model
from orchestrator.campaign.data import DataSection
from orchestrator.campaign.fields import LanguageCode, Positive, Seed, StrictModel
from search_spaces.relatedness.codes import resolve_language

CHOOSING: tuple[TaskKind, ...] = ("classification", "multiple-choice")
_EMBEDDED = "embedded"
_TARGET = re.compile(r"(?<!\{)\{target\}(?!\})")
Stop = Annotated[str, Field(min_length=1)]


class ExamplesSection(StrictModel):
    """Worked examples before every question: rows of a train split, drawn once by the seed."""

    count: Annotated[int, Field(ge=1, le=100)]
    seed: Seed = 0
    data: DataSection | None = Field(None, description="whose train split they come from; default: the task's `data`")
    language: LanguageCode | Literal["", "{target}"] = Field(
        "", description="of that data; default: the task's; a baseline's may be {target}"
    )


class PromptFields(StrictModel):
    """With a decoder or T5-like backbone a task has a `prompt`, and either an `answer` or `choices`."""

    prompt: str = Field("", description="what a language model is given; {column} is filled from the example")
    answer: str = Field("", description="generation, qa: what it must write, e.g. ' {answer_number}'")
    choices: tuple[str, ...] = Field((), description="classification, multiple-choice: the answers, one for each label")
    choice_score: ChoiceScore = Field("sum", description="likelihood of a choice: sum over its tokens, or mean")
    max_new_tokens: Positive = Field(64, description="where generation stops; decoders keep so many of `max_length`")
    stop: tuple[Stop, ...] = Field((), description="texts of which the first that is written ends an answer")
    examples: ExamplesSection | None = Field(None, description="worked examples before every question")
    chat: bool = Field(False, description="question and answer are turns of the tokenizer's own chat template")
    rouge_tokenizer: str = Field(
        "", description="SentencePiece model, or its directory, for ROUGE in other languages than English; or embedded"
    )

    @property
    def tokenizer_place(self) -> str:
        """Where the tokenizer for ROUGE lies, "" for none."""
        if not self.rouge_tokenizer:
            return ""
        given = embedded_backbone() if self.rouge_tokenizer == _EMBEDDED else Path(self.rouge_tokenizer).resolve()
        return str(given)

    def prompt_of_ref(self) -> dict[str, Any]:
        """The fields of a `TaskRef` that belong to the prompt, but for worked examples, whose data are to be resolved.

        Raises InputError for a tokenizer that is not there.
        """
        if not self.prompt:
            return {}
        place = self.tokenizer_place
        return {
            "prompt": self.prompt,
            "answer": self.answer,
            "choices": self.choices,
            "choice_score": self.choice_score,
            "max_new_tokens": self.max_new_tokens,
            "stop": self.stop,
            "chat": self.chat,
            "rouge_tokenizer": _digest(place) if place else "",
            "rouge_tokenizer_path": place,
        }


Asked = TypeVar("Asked", bound=PromptFields)


def asked_otherwise(task: Asked, asked: Mapping[str, Any], target: str) -> Asked:
    """`task` with the `prompt`, `stop`, `examples` and `chat` of a baseline, as many of them as it has.

    `{target}` is the target's English name in a prompt, and its code as the language of examples.
    """
    changes = dict(asked)
    if "prompt" in changes:
        changes["prompt"] = _TARGET.sub(resolve_language(target).name, changes["prompt"])
    if "examples" in changes and changes["examples"].language == "{target}":
        changes["examples"] = changes["examples"].model_copy(update={"language": target})
    return task.model_copy(update=changes)


@lru_cache(maxsize=8)
def _digest(place: str) -> str:
    return pieces_digest(place)


def examples_faults(examples: ExamplesSection) -> Iterator[str]:
    """What keeps worked examples from being rows with columns."""
    if examples.data is not None and examples.data.source not in ("json", "csv", "hub"):
        yield f"`examples.data` comes from json, csv or hub, not {examples.data.source}"


def prompt_faults(fields: PromptFields, kind: TaskKind, labels: tuple[str, ...], metric: str) -> Iterator[str]:
    """What keeps a task of this kind from being asked in these words."""
    if not fields.prompt:
        if given := sorted(set(PromptFields.model_fields) & fields.model_fields_set - {"prompt"}):
            yield f"{', '.join(f'`{name}`' for name in given)} belong to a task with a `prompt`"
        return
    if is_language_model(kind) or kind in TAGGING:
        yield f"a {kind} task has no `prompt`"
        return
    if kind in CHOOSING:
        if fields.answer or len(fields.choices) < 2:
            yield f"a {kind} task with a `prompt` has two `choices` or more, and no `answer`"
        elif labels and len(labels) != len(fields.choices):
            yield f"{len(labels)} `labels` and {len(fields.choices)} `choices`: give one choice a label"
        if fields.stop:
            yield "`stop` belongs to tasks with an `answer`: choices are weighed, not written"
    elif fields.choices or not fields.answer:
        yield f"a {kind} task with a `prompt` has an `answer`, and no `choices`"
    if fields.examples is not None:
        yield from examples_faults(fields.examples)
        if fields.examples.language == "{target}":
            yield "`examples.language` is {target} for a baseline alone: an adapter is trained on one prompt"
    if fields.rouge_tokenizer and not metric.startswith("rouge"):
        yield "`rouge_tokenizer` belongs to the metrics rouge2 and rougeL"
    for key, text in (
        ("prompt", fields.prompt),
        ("answer", fields.answer),
        *(("choices", one) for one in fields.choices),
    ):
        try:
            Template.parse(text, f"`{key}`")
        except InputError as faulty:
            yield str(faulty.faults[0])
